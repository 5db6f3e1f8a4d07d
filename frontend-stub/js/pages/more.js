// more: the button under a list that is longer than what is shown.
import { el } from '../dom.js';
import { STEP } from './list.js';

export class More {
  // load(): reads the list again, now with `wanted` entries
  constructor(load) {
    this.wanted = STEP;
    this.button = el('button', { type: 'button', class: 'more', 'data-testid': 'more', hidden: true,
      onclick: () => { this.wanted += STEP; load(); } }, `Show ${STEP} more`);
  }

  reset() { this.wanted = STEP; }

  offer(more) { this.button.hidden = !more; }
}
