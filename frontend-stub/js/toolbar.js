// toolbar: the buttons that pause the feed and jump to the newest message.
import { $ } from './dom.js';
import { count } from './format.js';

export class Toolbar {
  constructor(feed, indicator) {
    Object.assign(this, { feed, indicator });
    $('pause').addEventListener('click', () => this.toggle());
    $('jump').addEventListener('click', () => feed.latest());
  }

  toggle() { this.pause(!this.feed.paused); }

  pause(paused) {
    this.feed.pause(paused);
    $('pause').setAttribute('aria-pressed', String(paused));
  }

  draw() {
    const { paused, follow, backlog, atBottom, size, unseen } = this.feed;
    this.indicator.set({ paused, waiting: backlog.count });
    $('pause').textContent = !paused ? 'Pause' : backlog.count ? `Resume · ${count(backlog.count)}` : 'Resume';
    $('jump').hidden = paused || follow || size === 0 || (atBottom && backlog.count === 0);
    $('jump').textContent = unseen ? `↓ ${count(unseen)} newer` : '↓ Latest';
  }
}
