// poll: requests /v1/status and /v1/stats every few seconds while the page is visible.
import { get } from './api.js';

const EVERY_MS = 5000;

export class Poll {
  // on: {status(data), stats(data), away()}; task: limits the counts to one task
  constructor(on) {
    Object.assign(this, { on, task: null, timer: null });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.now(); });
  }

  async now() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), EVERY_MS);
    if (document.hidden) return;
    const task = this.task;
    const stats = task ? `/v1/stats?${new URLSearchParams({ task })}` : '/v1/stats';
    const signal = AbortSignal.timeout(EVERY_MS);
    const [status, counted] = await Promise.allSettled([get('/v1/status', { signal }), get(stats, { signal })]);
    if (status.status === 'fulfilled') this.on.status(status.value ?? {});
    if (counted.status === 'fulfilled' && task === this.task) this.on.stats(counted.value ?? {});
    if (status.status === 'rejected' && counted.status === 'rejected') this.on.away();
  }
}
