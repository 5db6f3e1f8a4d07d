// head: the highest sequence of the log that the console knows.
import { $ } from './dom.js';
import { count } from './format.js';

export class Head {
  seq = 0;

  saw(seq) { if (seq > this.seq) this.reset(seq); }

  reset(seq) {
    this.seq = seq;
    $('head').textContent = count(seq);
  }
}
