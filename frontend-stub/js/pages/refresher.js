// refresher: decides when a page is loaded again: soon after a message that concerns it, but at most once per second; otherwise
// at an interval; never while the page is hidden.

const PACE_MS = 1000;

export class Refresher {
  // load: an async function that never throws; it may return milliseconds to wait before the next request
  constructor(load, every) {
    Object.assign(this, { load, every, timer: null, due: Infinity, run: 0, earliest: 0, busy: false, nudged: false, running: false });
    document.addEventListener('visibilitychange', () => { if (this.running && !document.hidden) this.now(); });
  }

  start() { this.running = true; this.now(); }

  stop() {
    this.running = false;
    this.run += 1;
    this.clear();
  }

  nudge() {
    this.nudged = true;
    if (this.running && !this.busy) this.schedule(this.earliest - performance.now());
  }

  async now() {
    this.clear();
    if (!this.running || document.hidden) return;
    this.run += 1;
    const { run } = this;
    const began = performance.now();
    Object.assign(this, { busy: true, nudged: false });
    const rest = await this.load();
    if (run !== this.run) return;
    this.busy = false;
    this.earliest = began + (rest ?? PACE_MS);
    this.schedule(rest ?? this.every);
    if (this.nudged) this.nudge();
  }

  // Keeps the earlier of the planned time and this one.
  schedule(delay) {
    const due = performance.now() + Math.max(0, delay);
    if (due >= this.due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => this.now(), due - performance.now());
  }

  clear() {
    clearTimeout(this.timer);
    Object.assign(this, { due: Infinity, busy: false });
  }
}
