// stream: the live connection. An EventSource that is reopened after its last id whenever it ends.
import { problemOf, Problem } from './api.js';

const FIRST_DELAY_S = 1;
const LONGEST_DELAY_S = 30;

export class Stream {
  // on: {state(name, detail), ready(data, cursor), entry(seq, kind, raw), gap(data), caughtUp(), problem(Problem), denied(code)}
  constructor(on) {
    this.on = on;
    this.source = null;
    this.timer = null;
    this.run = 0;
    window.addEventListener('online', () => { if (this.timer) this.connect(); });
  }

  // from: 'now', 'start' or a sequence.
  open(params, from) {
    this.close();
    Object.assign(this, { params, from, cursor: null, attempt: 0, gap: '' });
    this.connect();
  }

  close() {
    this.run += 1;
    this.source?.close();
    this.source = null;
    clearTimeout(this.timer);
    this.timer = null;
  }

  address() {
    const params = new URLSearchParams(this.params);
    if (this.cursor === null) params.set('from', this.from);
    else params.set('last_event_id', this.cursor);
    return `/v1/stream?${params}`;
  }

  connect() {
    this.close();
    this.on.state(this.attempt ? 'reconnecting' : 'connecting');
    const source = new EventSource(this.address());
    this.source = source;
    source.addEventListener('ready', (event) => this.ready(event));
    source.addEventListener('gap', (event) => this.gapped(event));
    source.addEventListener('caught_up', () => { this.on.caughtUp(); this.on.state('live'); });
    for (const kind of ['message', 'status', 'task']) source.addEventListener(kind, (event) => this.take(event));
    source.addEventListener('denied', (event) => this.denied(event));
    source.addEventListener('error', () => this.failed(source));
  }

  ready(event) {
    const data = JSON.parse(event.data);
    this.attempt = 0;
    this.cursor = Number(event.lastEventId);
    this.on.ready(data, this.cursor);
    this.on.state(data.replaying ? 'replaying' : 'live');
  }

  // The server sends each message once; a duplicate would be ignored.
  take(event) {
    const seq = Number(event.lastEventId);
    if (seq <= this.cursor) return;
    this.cursor = seq;
    this.gap = '';
    this.on.entry(seq, event.type, event.data);
  }

  gapped(event) {
    if (event.data === this.gap) return;
    this.gap = event.data;
    this.on.gap(JSON.parse(event.data));
  }

  // The credential is no longer valid: a new connection would be refused.
  denied(event) {
    this.close();
    this.on.state('stopped');
    this.on.denied(JSON.parse(event.data).code);
  }

  // While the browser reconnects by itself, leave it alone: heartbeats have moved its last id, which scripts cannot see.
  failed(source) {
    if (source !== this.source) return;
    if (source.readyState === EventSource.CONNECTING) this.on.state('reconnecting');
    else this.diagnose();
  }

  // An EventSource does not expose why it was refused, so fetch requests the same address once.
  async diagnose() {
    const run = this.run;
    const abort = new AbortController();
    let problem = null;
    try {
      const response = await fetch(this.address(), { headers: { Accept: 'text/event-stream' }, signal: abort.signal });
      if (!response.ok) problem = await problemOf(response);
    } catch (error) {
      problem = new Problem(0, { detail: `Cannot reach the server (${error.message})` });
    }
    abort.abort();
    if (run !== this.run) return;
    if (problem?.final) {
      this.close();
      this.on.state('error', problem.message);
      this.on.problem(problem);
    } else this.retry(problem);
  }

  // Exponential backoff with jitter, so that the clients of a restarted server do not reconnect at once.
  retry(problem) {
    this.close();
    const backoff = Math.min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** this.attempt);
    const delay = Math.max(problem?.retryAfter ?? 0, backoff) * (0.5 + Math.random());
    this.attempt += 1;
    const due = performance.now() + Math.min(delay, LONGEST_DELAY_S) * 1000;
    const tick = () => {
      const left = due - performance.now();
      if (left <= 0) { this.connect(); return; }
      this.on.state('reconnecting', Math.ceil(left / 1000), problem?.message);
      this.timer = setTimeout(tick, Math.min(left, 250));
    };
    tick();
  }
}
