// dead_letters: messages and jobs that could not be processed; they can be redriven to their source or discarded.
import { el } from '../dom.js';
import { send } from '../api.js';
import { count } from '../format.js';
import { messageAt } from '../links.js';
import { hashOf } from '../route.js';
import { ago } from './ago.js';
import { ask } from './ask.js';
import { button } from './cells.js';
import { Letter } from './letter.js';
import { list } from './list.js';
import { More } from './more.js';
import { Page } from './page.js';
import { Sources } from './sources.js';
import { Table } from './table.js';

const EVERY_MS = 5000; // failures are not in the log
const pathOf = (id) => `/v1/dead-letters/${encodeURIComponent(id)}`;
const again = ({ redriven, skipped = 0 }) =>
  `${count(redriven)} redriven.${skipped ? ` ${count(skipped)} skipped: their source no longer exists.` : ''}`;

export class DeadLetters extends Page {
  constructor(vitals) {
    super(vitals, { name: 'dead-letters', title: 'Dead letters', every: EVERY_MS, about: 'Messages and jobs that a consumer or queue gave up. Redrive sends one to its source again, starting at the first attempt.' });
    this.table = new Table({
      label: 'Dead letters, oldest first', testid: 'dead-letter', columns: this.columns(), key: ({ id }) => id,
      mark: ({ id }) => ({ 'aria-selected': id === this.route.id ? 'true' : null }),
    });
    this.more = new More(() => this.refresher.now());
    this.sources = new Sources((source) => { location.hash = hashOf('dead-letters', { source }); });
    this.all = button('Redrive all…', 'redrive-all', () => this.redriveAll());
    this.letter = new Letter({ redrive: (id) => this.redrive(id), discard: (id) => this.discard(id), close: () => this.close() });
    this.tools.append(this.sources.node, this.all);
    this.body.append(el('div', { class: 'page-list' }, ...this.table.nodes, this.more.button), this.letter.node);
  }

  columns() {
    return [
      { title: 'Subject', head: true, class: 'name', cell: (letter) => el('a', { href: this.hashOf(letter.id), 'data-testid': 'open' }, letter.subject) },
      { title: 'Source', class: 'source', cell: ({ source, kind }) => [el('a', { href: hashOf('dead-letters', { source }) }, source), el('small', {}, kind)] },
      { title: 'Seq', class: 'figure', cell: ({ kind, seq }) => (kind === 'message' ? messageAt(seq) : count(seq)) },
      { title: 'Attempts', class: 'figure spare', cell: ({ attempts = [] }) => count(attempts.length) },
      { title: 'Reason', class: 'text', cell: (letter) => el('span', { class: 'clip' }, letter.attempts?.at(-1)?.error || letter.reason) },
      { title: 'Given up', cell: ({ died_at: at }) => ago(at) },
      { title: 'Actions', class: 'actions', cell: ({ id, subject }) => [
        button('Redrive', 'redrive', () => this.redrive(id), `Redrive ${subject}`),
        button('Discard…', 'discard', () => this.discard(id), `Discard ${subject}`)] },
    ];
  }

  get source() { return this.route.params.get('source') ?? ''; }

  get keys() { return { Escape: () => { if (this.route.id) this.close(); } }; }

  hashOf(id) { return hashOf('dead-letters', { id, source: this.source }); }

  show(route) {
    if (route.params.get('source') !== this.route?.params.get('source')) this.more.reset();
    super.show(route);
    this.sources.show(this.source);
    this.all.hidden = !this.source;
    this.letter.show(route.id);
    this.root.classList.toggle('with-letter', Boolean(route.id));
    for (const [key, row] of this.table.rows) row.ariaSelected = key === route.id ? 'true' : null;
  }

  close() {
    const { id } = this.route;
    location.hash = this.hashOf(null);
    const row = this.table.rows.get(id);
    (row?.querySelector('a') ?? this.heading).focus({ preventScroll: true });
  }

  redrive(id) {
    return this.act('Redrive', () => send('POST', `${pathOf(id)}/redrive`), (done) => { this.gone(id); return again(done); });
  }

  redriveAll() {
    const { source } = this;
    ask({
      title: 'Redrive all', confirm: 'Redrive all',
      text: `Sends every dead letter of ${source} to it again, including those not shown here.`,
      act: async () => {
        const done = await send('POST', `/v1/dead-letters/redrive?${new URLSearchParams({ source })}`);
        return () => this.finish(again(done));
      },
    });
  }

  discard(id) {
    ask({
      title: 'Discard', confirm: 'Discard', danger: true,
      text: 'It will never be processed. A message stays in history; a job is deleted.',
      act: async () => {
        await send('DELETE', pathOf(id));
        return () => { this.gone(id); this.finish('Discarded.'); };
      },
    });
  }

  gone(id) {
    if (this.route.id === id) location.hash = this.hashOf(null);
    this.heading.focus({ preventScroll: true });
  }

  read(signal) {
    return list('/v1/dead-letters', 'dead_letters', this.source ? { source: this.source } : {}, this.more.wanted, { signal });
  }

  draw({ items, more }) {
    this.table.draw(items, this.source ? `${this.source} has no dead letters.` : 'There are no dead letters.');
    this.all.disabled = items.length === 0;
    this.sources.suggest(items.map(({ source }) => source));
    this.more.offer(more);
  }

  summary({ items, more }) { return this.counted(items, 'dead letter', more); }
}
