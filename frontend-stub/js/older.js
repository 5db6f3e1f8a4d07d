// older: the button above the feed that loads older messages.
import { $ } from './dom.js';
import { before } from './tail.js';
import { hideProblem, showProblem } from './problem.js';

const button = $('older');

export class Older {
  // look(): returns {query, signal} of the current feed.
  constructor(feed, look) {
    Object.assign(this, { feed, look });
    button.addEventListener('click', () => this.load());
  }

  offer(more) { button.hidden = !more; }

  // Rows that were removed from the screen can be loaded again.
  draw() { if (this.feed.trimmed) this.offer(true); }

  async load() {
    const { feed } = this;
    const { query, signal } = this.look();
    button.disabled = true;
    try {
      const { messages, more } = await before(query, feed.first || feed.base + 1, signal);
      if (signal.aborted) return;
      feed.older(messages);
      this.offer(more);
      hideProblem();
    } catch (problem) {
      if (!signal.aborted) showProblem(problem, () => this.load());
    } finally {
      button.disabled = false;
    }
  }
}
