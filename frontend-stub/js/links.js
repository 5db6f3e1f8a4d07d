// links: ways into the feed. A plain click on one (data-live) changes the address and does not load the page anew.
import { el } from './dom.js';
import { count } from './format.js';

// The messages that pass this filter.
export const feedOf = (name, value, attributes, ...children) =>
  el('a', { href: `/?${new URLSearchParams({ [name]: value })}`, 'data-live': true, title: `Messages with ${name} ${value}`, ...attributes }, ...children);

// One message, in full.
export const messageAt = (seq) => (Number.isFinite(seq)
  ? el('a', { href: `/#seq=${seq}`, 'data-live': true, title: `Message ${seq}` }, count(seq)) : '–');
