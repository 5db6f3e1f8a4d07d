// feed: the rows on the screen. It follows the newest message until the user scrolls up, and has at most MAX_ROWS rows:
// newer messages wait in the backlog, older ones are loaded from the server.
import { Backlog } from './backlog.js';
import { row } from './row.js';

export const MAX_ROWS = 1000;
const STEP = 200; // rows added at a time while the user scrolls through the backlog
const NEARLY = 50; // with so few left in the backlog, the feed follows the newest message again
const BOTTOM_PX = 24;
const PACE_MS = 80;

export class Feed {
  // on: {change(), resized(), reopen(seq), latest()}
  constructor(scroller, list, on) {
    Object.assign(this, { scroller, list, on, paused: false, due: false, drawn: 0, backlog: new Backlog() });
    this.clear(true);
    scroller.addEventListener('scroll', () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.resized()).observe(scroller);
  }

  clear(follow) {
    this.list.replaceChildren();
    this.backlog.clear();
    Object.assign(this, { follow, pending: [], dropped: false, unseen: 0, base: 0, top: 0, trimmed: false });
    this.changed();
  }

  get size() { return this.list.childElementCount; }
  get atBottom() { return this.scroller.scrollHeight - this.scroller.clientHeight - this.scroller.scrollTop < BOTTOM_PX; }
  get first() { return Number(this.list.querySelector('.row')?.dataset.seq ?? 0); }

  // The highest sequence shown; the stream can be reopened after it.
  get last() {
    const { seq, to } = this.list.lastElementChild?.dataset ?? {};
    return Number(seq ?? to ?? this.base);
  }

  accept(entry) {
    if (!this.follow) this.unseen += 1;
    const full = !this.follow && this.size + this.pending.length >= MAX_ROWS;
    if (this.paused || full || this.backlog.count > 0) this.backlog.push(entry);
    else this.pending.push(entry);
    if (this.pending.length >= MAX_ROWS * 2) {
      this.pending = this.pending.slice(-MAX_ROWS);
      this.dropped = true; // the rows on the screen are older than these and are removed too
    }
    this.changed();
  }

  // Redraws in an animation frame and not before PACE_MS have passed, so that fifty messages per second are not fifty repaints.
  changed() {
    if (this.due) return;
    this.due = true;
    const draw = () => {
      Object.assign(this, { due: false, drawn: performance.now() });
      this.flush();
      this.on.change();
    };
    setTimeout(() => requestAnimationFrame(draw), Math.max(0, PACE_MS - (performance.now() - this.drawn)));
  }

  flush() {
    if (this.pending.length === 0) return;
    if (this.dropped) this.list.replaceChildren();
    this.trimmed ||= this.dropped || this.pending.length > MAX_ROWS;
    const entries = this.pending.slice(-MAX_ROWS);
    this.pending = [];
    this.dropped = false;
    this.list.append(...entries.map(row));
    this.trimOldest(this.size - MAX_ROWS);
    if (this.follow) this.toBottom();
  }

  trimOldest(n) {
    if (n <= 0) return;
    this.trimmed = true;
    const height = this.scroller.scrollHeight;
    const range = document.createRange();
    range.setStartBefore(this.list.firstElementChild);
    range.setEndAfter(this.list.children[n - 1]);
    range.deleteContents();
    this.scroller.scrollTop -= height - this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
  }

  scrolled() {
    const moved = this.scroller.scrollTop - this.top;
    this.top = this.scroller.scrollTop;
    if (moved > 0 && this.atBottom) this.advance();
    else if (moved < -2 && !this.atBottom) this.follow = false;
    this.on.change();
  }

  resized() {
    if (this.follow) this.toBottom();
    else this.on.resized();
  }

  // The user reached the last row: add the next messages, or follow if none are left.
  advance() {
    const { backlog } = this;
    if (this.follow || this.paused) return;
    if (backlog.overflowed) {
      this.trimOldest(this.size + STEP - MAX_ROWS);
      this.on.reopen(this.last + 1);
    } else {
      if (backlog.count <= NEARLY) Object.assign(this, { follow: true, unseen: 0 });
      const next = backlog.take(STEP);
      this.trimOldest(this.size + this.pending.length + next.length - MAX_ROWS);
      this.pending.push(...next);
    }
    this.changed();
  }

  // Adds the first rows, from history.
  fill(messages) {
    this.list.append(...messages.map((message) => row({ message })));
    this.toBottom();
    this.changed();
  }

  // The replay is complete. If the last row is visible, follow.
  settle() {
    this.flush();
    if (this.backlog.count === 0 && this.atBottom) Object.assign(this, { follow: true, unseen: 0 });
    this.changed();
  }

  // The stream was reopened after the last row: it sends the backlog again.
  rewind() {
    this.backlog.clear();
    this.pending = [];
    this.changed();
  }

  older(messages) {
    const height = this.scroller.scrollHeight;
    this.follow = false;
    this.trimmed = false;
    this.list.prepend(...messages.map((message) => row({ message })));
    this.scroller.scrollTop += this.scroller.scrollHeight - height;
    const excess = this.size - MAX_ROWS;
    if (excess > 0) {
      for (let n = 0; n < excess; n += 1) this.list.lastElementChild.remove();
      this.backlog.overflow(excess + this.pending.length);
      this.pending = [];
    }
    this.top = this.scroller.scrollTop;
    this.changed();
  }

  pause(paused) {
    this.paused = paused;
    if (paused) { this.changed(); return; }
    if (this.backlog.overflowed) this.on.reopen(this.last + 1);
    else this.pending.push(...this.backlog.take(this.follow ? Infinity : Math.max(0, MAX_ROWS - this.size)));
    this.changed();
  }

  latest() {
    if (this.backlog.overflowed) { this.on.latest(); return; }
    Object.assign(this, { follow: true, unseen: 0 });
    this.pending.push(...this.backlog.take(Infinity));
    this.toBottom();
    this.changed();
  }

  // Stops following, so that a selected message stays in view.
  hold() {
    if (this.scroller.scrollHeight > this.scroller.clientHeight) this.follow = false;
    this.changed();
  }
}
