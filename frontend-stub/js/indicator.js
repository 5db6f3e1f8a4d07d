// indicator: the state of the connection, always visible.
import { count } from './format.js';

const node = document.querySelector('[data-testid=state]');

export class Indicator {
  constructor() { Object.assign(this, { name: 'connecting', detail: null, hint: '', paused: false, waiting: 0 }); }

  set(change) {
    Object.assign(this, change);
    const paused = this.paused && (this.name === 'live' || this.name === 'replaying');
    const text = paused ? this.pausedText() : this.text();
    if (node.textContent !== text) node.textContent = text;
    node.ariaLive = this.detail ? 'off' : 'polite'; // screen readers must not read the countdown
    node.dataset.state = paused ? 'paused' : this.name;
    node.title = this.hint;
  }

  pausedText() { return this.waiting ? `Paused · ${count(this.waiting)} waiting` : 'Paused'; }

  text() {
    switch (this.name) {
      case 'live': return 'Live';
      case 'replaying': return 'Replaying…';
      case 'reconnecting': return this.detail ? `Reconnecting in ${this.detail}s` : 'Reconnecting…';
      case 'error': return 'Refused';
      case 'stopped': return 'Stopped';
      case 'asking': return 'Not live';
      default: return 'Connecting…';
    }
  }
}
