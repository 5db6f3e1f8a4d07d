// cells: table cells that several pages use.
import { el } from '../dom.js';
import { count, duration } from '../format.js';
import { feedOf } from '../links.js';
import { avatar } from '../row.js';
import { hashOf } from '../route.js';

export const agent = (id) => feedOf('sender', id, { class: 'agent' }, avatar(id), el('span', {}, String(id)));

// Zero is shown dimmed, so that other numbers stand out.
export const number = (n) => el('span', { class: n ? 'number' : 'number zero' }, count(n));

// tone: good, busy, bad, or nothing
export const badge = (text, tone = '', hint = undefined) => el('span', { class: `badge ${tone}`, title: hint }, String(text));

export const seconds = (n) => (Number.isFinite(n) ? el('span', { class: n ? 'number' : 'number zero' }, n > 0 && n < 1 ? '<1s' : duration(n)) : '–');

export const lettersOf = (source, n) =>
  (n ? el('a', { class: 'alarm', href: hashOf('dead-letters', { source }), title: `Dead letters of ${source}` }, count(n)) : number(n));

export const button = (label, testid, onclick, name = undefined) =>
  el('button', { type: 'button', class: 'act', 'data-testid': testid, 'aria-label': name, onclick }, label);
