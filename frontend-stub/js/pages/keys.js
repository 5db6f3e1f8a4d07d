// keys: the keys of the deployment: make, rotate, revoke. The text of a key is shown once, when it is made or rotated.
import { el } from '../dom.js';
import { get, send } from '../api.js';
import { count, fullTime } from '../format.js';
import { brief, inFull } from '../grants.js';
import { ago } from './ago.js';
import { ask } from './ask.js';
import { badge, button } from './cells.js';
import { makeKey } from './make_key.js';
import { Page } from './page.js';
import { showSecret } from './secret.js';
import { Table } from './table.js';

const EVERY_MS = 5000; // keys are not in the log
const TONES = { human: 'good', service: 'busy' };
const LIMITS = { requests_per_s: 'requests/s', messages_per_s: 'messages/s', bytes_per_day: 'bytes/day', streams: 'streams' };
const OVERLAPS = [['at once', 0], ['in 1 hour', 3600], ['in 24 hours', 86400]];

const pathOf = (id) => `/v1/keys/${encodeURIComponent(id)}`;
const isOver = (end) => Boolean(end) && new Date(end) <= new Date();

function limits(limits = {}) {
  const given = Object.entries(LIMITS).filter(([name]) => Number.isFinite(limits[name]));
  return given.length ? given.map(([name, unit]) => el('div', {}, `${count(limits[name])} ${unit}`)) : '–';
}

const grants = (given) => el('span', { class: 'grants', title: inFull(given) }, brief(given).map((part) => el('span', {}, part)));

const expiry = ({ expires_at: end, old_secret_until: old, disabled }) => [
  disabled && badge('disabled', 'bad', 'restored from a backup: agentbus keys enable'),
  isOver(end) ? badge('expired', 'bad', fullTime(end)) : end ? ago(end) : 'never',
  old && !isOver(old) && el('small', {}, 'old secret ends ', ago(old))];

export class Keys extends Page {
  constructor(vitals) {
    super(vitals, { name: 'keys', title: 'Keys', every: EVERY_MS, about: 'Each program and each person has a key of its own. What a key may do are its grants.', concerns: () => false });
    this.table = new Table({ label: 'Keys', testid: 'key', columns: this.columns(), key: ({ id }) => id });
    this.tools.append(button('New key…', 'make-key', () => makeKey((made) => this.made(made))));
    this.body.append(...this.table.nodes);
  }

  columns() {
    return [
      { title: 'Name', head: true, class: 'name', cell: ({ id, name }) => [el('b', {}, name), this.isOwn(id) && badge('you', 'good', 'You are logged in with this key'), el('small', { class: 'id' }, id)] },
      { title: 'Kind', cell: ({ kind }) => badge(kind, TONES[kind]) },
      { title: 'Grants', class: 'text', cell: ({ grants: given }) => grants(given ?? {}) },
      { title: 'Limits', cell: ({ limits: given }) => limits(given) },
      { title: 'Expires', cell: expiry },
      { title: 'Last used', hint: 'Recorded about once a minute', cell: ({ last_used_at: at }) => (at ? ago(at) : 'never') },
      { title: 'Made', class: 'spare', cell: ({ created_at: at, created_by: by }) => [ago(at), by && el('small', {}, `by ${by}`)] },
      { title: 'Actions', class: 'actions', cell: ({ id, name }) => [
        button('Rotate…', 'rotate', () => this.rotate(id, name), `Rotate ${name}`), button('Revoke…', 'revoke', () => this.revoke(id, name), `Revoke ${name}`)] },
    ];
  }

  isOwn(id) { return this.identity.me?.id === id; }

  made({ name, key }) {
    this.finish(`${name} is made.`);
    showSecret(`Key of ${name}`, key);
  }

  rotate(id, name) {
    ask({
      title: `Rotate ${name}`, confirm: 'Rotate',
      text: `The key gets a new secret, which is shown once. When the old one ends, all that it opened ends with it: sessions, tickets, streams.${this.isOwn(id) ? ' You are logged in with this key.' : ''}`,
      field: { label: 'the old secret ends', options: OVERLAPS },
      act: async (overlap) => {
        const { key } = await send('POST', `${pathOf(id)}/rotate`, JSON.stringify({ overlap_s: Number(overlap) }));
        return () => { this.finish(`${name} is rotated.`); showSecret(`New secret of ${name}`, key); };
      },
    });
  }

  revoke(id, name) {
    ask({
      title: `Revoke ${name}`, confirm: 'Revoke', danger: true,
      text: `The key ends at once and for good, on every server, with all that it opened: sessions, tickets, streams, waiting requests. Webhooks that it made pause.${this.isOwn(id) ? ' You are logged in with this key.' : ''}`,
      act: async () => {
        await send('DELETE', pathOf(id));
        return () => { this.heading.focus({ preventScroll: true }); this.finish(`${name} is revoked.`); };
      },
    });
  }

  read(signal) { return get('/v1/keys', { signal, as: JSON.parse }); }

  draw({ keys = [] }) { this.table.draw([...keys].sort((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id)), 'There are no keys yet.'); }

  summary({ keys = [] }) { return this.counted(keys, 'key'); }
}
