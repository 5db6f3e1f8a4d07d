// links: links to the feed. A plain click on one (data-live) changes the address without a page load.
import { el } from './dom.js';
import { count } from './format.js';

// The messages that match this filter.
export const feedOf = (name, value, attributes, ...children) =>
  el('a', { href: `/?${new URLSearchParams({ [name]: value })}`, 'data-live': true, title: `Messages with ${name} ${value}`, ...attributes }, ...children);

// One message in full.
export const messageAt = (seq) => (Number.isFinite(seq)
  ? el('a', { href: `/#seq=${seq}`, 'data-live': true, title: `Message ${seq}` }, count(seq)) : '–');
