// letter: one dead letter in full: every attempt and its error, and the message or the job.
import { el } from '../dom.js';
import { get } from '../api.js';
import { count, fullTime, stringify } from '../format.js';
import { problemText } from '../problem.js';
import { block, parts, terms } from '../parts.js';
import { ago } from './ago.js';
import { button } from './cells.js';

const PATIENCE_MS = 10_000;

export class Letter {
  // on: {redrive(id), discard(id), close()}
  constructor(on) {
    Object.assign(this, { on, id: null });
    this.node = el('aside', { class: 'detail letter', 'data-testid': 'letter', 'aria-label': 'Dead letter', tabindex: -1, hidden: true });
  }

  // null: none
  async show(id) {
    if (id === this.id) return;
    this.id = id;
    this.node.hidden = !id;
    this.node.replaceChildren();
    if (!id) return;
    try {
      const letter = await get(`/v1/dead-letters/${encodeURIComponent(id)}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (this.id === id) this.draw(letter);
    } catch (problem) {
      if (this.id === id) this.refuse(problem);
    }
    if (this.id === id) this.node.focus({ preventScroll: true });
  }

  refuse(problem) {
    const gone = problem.status === 404;
    const again = button('Try again', 'letter-again', () => { const { id } = this; this.id = null; this.show(id); });
    this.node.replaceChildren(el('header', {}, this.line('Dead letter')),
      el('div', { class: 'body' }, el('div', { class: 'problem', role: 'alert' }, problemText(problem, gone ? 'This dead letter was redriven or discarded' : 'This dead letter cannot be loaded'), !gone && again)));
  }

  line(tag) {
    return el('div', { class: 'line' }, el('span', { class: 'tag' }, tag), el('span', { class: 'space' }),
      el('button', { type: 'button', class: 'icon', 'aria-label': 'Close (Esc)', title: 'Close (Esc)', 'data-testid': 'letter-close', onclick: () => this.on.close() }, '×'));
  }

  draw(letter) {
    const { id, kind, source, seq, subject, reason, attempts = [], died_at: died, message, job } = letter;
    this.node.scrollTop = 0;
    this.node.replaceChildren(
      el('header', {}, this.line(`Dead ${kind}`), el('h2', {}, subject),
        el('p', { class: 'why', 'data-testid': 'letter-reason' }, reason),
        el('div', { class: 'actions' },
          button('Redrive', 'letter-redrive', () => this.on.redrive(id)), button('Discard…', 'letter-discard', () => this.on.discard(id)))),
      el('div', { class: 'body' },
        terms([['source', source], ['sequence', count(seq)], ['given up', [ago(died), ` · ${fullTime(died)}`]], ['id', id]]),
        this.attempts(attempts),
        ...(message ? parts(message, 'letter').filter(Boolean) : []),
        ...(job ? this.job(job) : [])));
  }

  attempts(attempts) {
    const one = ({ attempt, at, error }) => el('li', { 'data-testid': 'attempt' },
      el('div', {}, el('b', {}, `Attempt ${attempt}`), el('small', {}, ago(at))), el('pre', {}, error));
    return el('section', {}, el('h3', {}, 'attempts'),
      attempts.length ? el('ol', { class: 'attempts' }, attempts.map(one)) : el('p', {}, 'No attempts are recorded.'));
  }

  job({ job_id: id, type, priority, enqueued_at: at, payload }) {
    return [terms([['job_id', id], ['type', type], ['priority', priority], ['enqueued_at', at]]),
      block('payload', stringify(payload, 2), { class: 'metadata', 'data-testid': 'letter-payload' })];
  }
}
