// rail: counts by kind, type and sender in the side bar; each is a button that toggles its filter.
import { $, el } from './dom.js';
import { count, kindClass, KINDS } from './format.js';
import { avatar } from './row.js';

const SECTIONS = [
  { title: 'Kinds', filter: 'kind', member: 'by_kind', most: 8 },
  { title: 'Senders', filter: 'sender', member: 'by_sender', most: 14 },
  { title: 'Types', filter: 'type', member: 'by_type', most: 20 },
];

export class Rail {
  // on: {toggle(name, value), suggest(name, values)}
  constructor(on) { Object.assign(this, { on, counts: {}, query: null, shown: '', allowed: true }); }

  show(query) { this.query = query; this.draw(); }
  update(counts) { this.counts = counts ?? {}; this.draw(); }

  // Whether the key may read the counts.
  may(allowed) { this.allowed = allowed; this.draw(); }

  draw() {
    if (!this.query) return;
    if (!this.allowed) {
      $('rail').replaceChildren(el('p', { class: 'none', 'data-testid': 'rail-refused' }, 'No counts. This key lacks: can observe'));
      return;
    }
    const wanted = JSON.stringify([this.counts, this.query.filters]);
    if (wanted === this.shown) return;
    this.shown = wanted;
    const focused = document.activeElement?.dataset?.key;
    $('rail').replaceChildren(...SECTIONS.map((section) => this.section(section)));
    if (focused) $('rail').querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  // Active filters are always listed, even if their count is 0.
  section({ title, filter, member, most }) {
    const counts = { ...(filter === 'kind' ? Object.fromEntries(KINDS.map((kind) => [kind, 0])) : {}), ...this.counts[member] };
    const chosen = this.query.filters[filter];
    for (const value of chosen) counts[value] ??= 0;
    const all = Object.entries(counts).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    this.on.suggest(filter, all.map(([name]) => name));
    const entries = all.filter(([name], i) => i < most || chosen.includes(name));
    const top = Math.max(1, ...entries.map(([, n]) => n));
    const items = entries.map(([name, n]) => this.item(filter, name, n, n / top, chosen.includes(name)));
    const more = all.length - entries.length;
    return el('section', {}, el('h2', {}, title, el('small', {}, all.length > most ? count(all.length) : '')),
      items.length ? items : el('p', { class: 'none' }, 'none yet'),
      more > 0 && el('p', { class: 'none' }, `and ${count(more)} more`));
  }

  item(filter, name, n, share, on) {
    const bar = el('span', { class: 'share' });
    bar.style.setProperty('--share', share.toFixed(3));
    const mark = filter === 'sender' ? avatar(name) : filter === 'kind' ? el('i', { class: 'shape' }) : null;
    return el('button', {
      type: 'button', class: `count ${filter === 'kind' ? kindClass(name) : ''}`, 'aria-pressed': String(on), title: name,
      'data-testid': `rail-${filter}`, 'data-value': name, 'data-key': `${filter} ${name}`,
      onclick: () => this.on.toggle(filter, name),
    }, bar, mark, el('span', { class: 'name' }, name), el('b', {}, count(n)));
  }
}
