// strip: the state of the server, in one line in the footer. Members that the response lacks are left out.
import { $, el } from './dom.js';
import { count, duration } from './format.js';

const GOOD = new Set([true, 'ok', 'ready', 'up', 'connected', 'healthy', 'running']);
const nameOf = (value) => (value && typeof value === 'object' ? value.kind ?? value.name ?? value.type : value);

function isGood(part) {
  if (part === null || typeof part !== 'object') return GOOD.has(part);
  const said = part.ready ?? part.ok ?? part.status ?? part.state;
  return said === undefined || GOOD.has(said);
}

export class Strip {
  constructor() { Object.assign(this, { status: {}, stats: {}, away: false }); }

  set(change) { Object.assign(this, change); this.draw(); }

  draw() {
    const { status, stats } = this;
    const { log = {}, projector = {}, queue = {}, pool = {} } = stats;
    const parts = Object.entries(status.parts ?? {}).map(([name, part]) => this.part(name, part));
    const items = [
      this.away ? el('span', { class: 'part bad' }, el('i'), 'server not responding') : this.ready(status.ready),
      ...(this.away ? [] : parts),
      this.item('bus', nameOf(status.bus)),
      this.item('store', nameOf(status.store)),
      this.item('log', log.last === undefined ? undefined : `${count(log.first)} – ${count(log.last)}`),
      this.item('committed', number(projector.committed_through)),
      this.item('lag', number(projector.lag), projector.lag > 0 ? 'warn' : ''),
      this.item('streams', number(stats.streams_open)),
      this.item('queued', number(queue.current_size)),
      this.item('processed', number(pool.processed_count)),
      this.item('errors', number(pool.error_count), pool.error_count > 0 ? 'warn' : ''),
      el('span', { class: 'space' }),
      el('span', { class: 'keys' }, ...['j k move', 'p pause', '/ filter', 'c compose', 'End latest'].map(hint)),
      this.item('up', Number.isFinite(status.uptime_s) ? duration(status.uptime_s) : undefined),
      status.version && el('span', {}, `${status.name ?? 'agentbus'} ${status.version}`),
    ];
    $('strip').replaceChildren(...items.filter(Boolean));
  }

  ready(ready) {
    if (ready === undefined) return null;
    const good = isGood(ready);
    return el('span', { class: good ? 'part good' : 'part bad' }, el('i'), good ? 'ready' : 'not ready');
  }

  part(name, part) {
    const detail = part && typeof part === 'object' ? part.detail ?? part.error ?? '' : String(part);
    return el('span', { class: isGood(part) ? 'part good' : 'part bad', title: detail }, el('i'), name);
  }

  item(label, value, state = '') {
    if (value === undefined || value === null) return null;
    return el('span', { class: state }, el('small', {}, label), ' ', el('b', {}, String(value)));
  }
}

const number = (value) => (Number.isFinite(value) ? count(value) : undefined);

function hint(text) {
  const cut = text.lastIndexOf(' ');
  return el('span', {}, ...text.slice(0, cut).split(' ').map((key) => el('kbd', {}, key)), ` ${text.slice(cut + 1)}`);
}
