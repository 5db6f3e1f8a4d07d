// row: one line of the feed, for a message or for a gap.
import { el } from './dom.js';
import { count, fullTime, hue, initials, kindClass, parse, preview, timeOf } from './format.js';

const messages = new WeakMap();
export const messageOf = (row) => messages.get(row);

export const avatar = (name) =>
  el('i', { class: 'avatar', hue: hue(name), 'aria-hidden': 'true' }, initials(name));

// entry: {seq, kind, raw} from the stream, {message} from history, or {gap}.
export function row(entry) {
  if (entry.gap) return gapRow(entry.gap);
  const message = entry.message ?? read(entry);
  const { seq, sender_id: sender = 'unknown', recipient_id: recipient, type = 'unknown' } = message;
  const node = el('div', {
    class: `row ${kindClass(message.kind)}`, id: `m${seq}`, role: 'option', 'aria-selected': 'false',
    'aria-label': `${seq}, ${message.kind} ${type} from ${sender}${recipient ? ` to ${recipient}` : ''}`,
    'data-testid': 'row', 'data-seq': seq, 'data-kind': message.kind,
  },
  el('span', { class: 'seq' }, String(seq)),
  el('time', { class: 'time', datetime: message.created_at, title: fullTime(message.created_at) }, timeOf(message.created_at)),
  el('span', { class: 'who' }, avatar(sender), el('b', {}, String(sender)),
    recipient && el('span', { class: 'to' }, el('span', { class: 'arrow' }, '→'), String(recipient))),
  el('span', { class: 'type' }, String(type)),
  el('span', { class: 'text' }, preview(message)),
  el('span', { class: 'task' }, message.task_id ? String(message.task_id) : ''));
  messages.set(node, message);
  return node;
}

// A message that cannot be parsed still has a row. The sequence is the one of the stream, even if the body has another.
function read({ seq, kind, raw }) {
  try {
    const message = parse(raw);
    message.kind ??= kind;
    return Object.assign(message, { seq });
  } catch {
    return { seq, kind, type: 'unreadable', sender_id: 'unknown', content: raw };
  }
}

const REASONS = {
  expired: 'expired: older than the log keeps',
  abandoned: 'abandoned when the log moved to another bus',
  ahead_of_log: 'beyond the end of this log: the position came from another log',
};

function gapRow({ from, to, reason }) {
  const range = from === to ? `Sequence ${count(from)}` : `Sequences ${count(from)} – ${count(to)}`;
  return el('div', {
    class: 'gap', role: 'option', 'aria-disabled': 'true',
    'data-testid': 'gap', 'data-from': from, 'data-to': to, 'data-reason': reason,
  }, el('span', {}, el('b', {}, range), ` not available · ${REASONS[reason] ?? reason}`));
}
