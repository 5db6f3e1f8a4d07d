// poll: requests /v1/status and /v1/stats every few seconds while the page is visible and the key may observe.
import { get } from './api.js';

const EVERY_MS = 5000;

export class Poll {
  // on: {status(data), stats(data), away()}; may(): whether the key may observe; task: limits the counts to one task
  constructor(on, may) {
    Object.assign(this, { on, may, task: null, timer: null, stopped: true });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.now(); });
  }

  start() {
    this.stopped = false;
    this.now();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  async now() {
    clearTimeout(this.timer);
    if (this.stopped) return;
    this.timer = setTimeout(() => this.now(), EVERY_MS);
    if (document.hidden || !this.may()) return;
    const task = this.task;
    const stats = task ? `/v1/stats?${new URLSearchParams({ task })}` : '/v1/stats';
    const signal = AbortSignal.timeout(EVERY_MS);
    const [status, counted] = await Promise.allSettled([get('/v1/status', { signal }), get(stats, { signal })]);
    if (this.stopped) return;
    if (status.status === 'fulfilled') this.on.status(status.value ?? {});
    if (counted.status === 'fulfilled' && task === this.task) this.on.stats(counted.value ?? {});
    if (isAway(status) && isAway(counted)) this.on.away();
  }
}

// A refusal is a response.
const isAway = ({ status, reason }) => status === 'rejected' && !reason.final;
