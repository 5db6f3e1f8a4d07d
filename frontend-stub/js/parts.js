// parts: the members, content and metadata of a message, for the detail of a message and of a dead letter.
import { el } from './dom.js';
import { fullTime, stringify } from './format.js';
import { feedOf } from './links.js';

const FILTERS = {
  kind: 'kind', type: 'type', subject: 'subject', sender_id: 'sender', recipient_id: 'recipient',
  task_id: 'task', conversation_id: 'conversation', in_reply_to: 'in_reply_to',
};
const BELOW = new Set(['content', 'metadata']);

// name: prefix of the test ids. open(id): shows the message that this one replies to; null if the page cannot.
export const parts = (message, name, open = null) =>
  [members(message, name, open), content(message, name), metadata(message, name)];

// A description list of [term, value]; null values are left out.
export const terms = (entries) => el('dl', {}, entries.filter(([, value]) => value !== null && value !== undefined)
  .flatMap(([term, value]) => [el('dt', {}, term), el('dd', {}, value)]));

export const block = (title, text, attributes) => el('section', {}, el('h3', {}, title),
  el('pre', { tabindex: 0, 'aria-label': title, ...attributes }, text));

function members(message, name, open) {
  const named = Object.keys(message).filter((member) => !BELOW.has(member));
  return terms(named.map((member) => [member, value(member, message[member], name, open)]));
}

function value(member, given, name, open) {
  const text = typeof given === 'string' ? given : stringify(given);
  if (member === 'created_at' || member === 'expires_at') return el('time', { datetime: text, title: fullTime(text) }, text);
  if (!Object.hasOwn(FILTERS, member)) return text;
  const link = feedOf(FILTERS[member], text, { 'data-testid': `${name}-${member}` }, text);
  if (member !== 'in_reply_to' || !open) return link;
  return [link, ' ', el('button', { type: 'button', class: 'small', 'data-testid': `${name}-parent`, onclick: () => open(text) }, 'open')];
}

function content(message, name) {
  const text = String(message.content ?? '');
  return el('section', {}, el('h3', {}, 'content', el('small', {}, text ? `${text.length.toLocaleString('en-US')} characters` : 'empty')),
    text ? el('pre', { class: 'content', 'data-testid': `${name}-content`, tabindex: 0, 'aria-label': 'content' }, text) : null);
}

function metadata(message, name) {
  if (!message.metadata || Object.keys(message.metadata).length === 0) return null;
  return block('metadata', stringify(message.metadata, 2), { class: 'metadata', 'data-testid': `${name}-metadata` });
}
