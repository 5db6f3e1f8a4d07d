// format: numbers, times, names and messages as text for people.

const integer = new Intl.NumberFormat('en-US');
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

export const count = (n) => (Number.isFinite(n) ? integer.format(n) : '–');

function moment(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? null : date;
}

export const timeOf = (text) => { const date = moment(text); return date ? clock.format(date) : '–'; };
export const fullTime = (text) => { const date = moment(text); return date ? full.format(date) : String(text); };

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (d > 0) return `${d}d ${h}h`;
  if (h > 0) return `${h}h ${m}m`;
  return m > 0 ? `${m}m ${Math.floor(seconds % 60)}s` : `${Math.floor(seconds)}s`;
}

// A stable hue for each name: FNV-1a, spread by the golden angle.
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const character of String(name)) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
  return Math.round(((hash % 997) * 137.508) % 360);
}

// "code-reviewer" is CR, "system" is SY, "agent-7" is A7.
export function initials(name) {
  const words = String(name).split(/[-_\s]+/).filter(Boolean);
  const letters = words.length > 1 ? [...words[0]][0] + [...words[1]][0] : [...(words[0] ?? '?')].slice(0, 2).join('');
  return letters.toUpperCase();
}

export const KINDS = ['message', 'status', 'task'];
export const kindClass = (kind) => (KINDS.includes(kind) ? `k-${kind}` : 'k-other');

// The first line of a text. It may be a megabyte, so only its beginning is read.
const PREVIEW = 320;
export function preview(message) {
  const line = String(message.content ?? '').slice(0, PREVIEW * 2).replace(/\s+/g, ' ').trim();
  if (line) return line.slice(0, PREVIEW);
  const metadata = message.metadata && Object.keys(message.metadata).length ? stringify(message.metadata) : '';
  return metadata.slice(0, PREVIEW);
}

// Parses JSON and keeps numbers as written (12345678901234567890, 1.0) where the browser supports it.
const keepNumber = (_key, value, context) =>
  typeof value === 'number' && context && String(value) !== context.source ? JSON.rawJSON(context.source) : value;
export const parse = (text) => (JSON.rawJSON ? JSON.parse(text, keepNumber) : JSON.parse(text));
export const stringify = (value, indent) => JSON.stringify(value, null, indent);
