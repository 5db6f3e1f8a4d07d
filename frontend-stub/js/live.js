// live: the page with the feed. The query in the address is its whole state.
import { $ } from './dom.js';
import { address, FILTERS, isFiltered, only, params, read, toggled } from './query.js';
import { Detail } from './detail.js';
import { Feed } from './feed.js';
import { Filters } from './filters.js';
import { Older } from './older.js';
import { Rail } from './rail.js';
import { Replay } from './replay.js';
import { Selection } from './selection.js';
import { Stream } from './stream.js';
import { Toolbar } from './toolbar.js';
import { empty } from './empty.js';
import { hideProblem, showProblem } from './problem.js';
import { newest } from './tail.js';
import { openId, openLinked, setHash } from './permalink.js';

export class Live {
  // on: {arrive(), after the address has been changed here; reply(message)}
  constructor({ head, indicator, rate, poll, identity }, on) {
    Object.assign(this, { head, indicator, rate, poll, identity, on, shown: false });
    this.query = read(location.search);
    this.stale = true; // what is shown does not match the address
    this.owed = false; // whether the newest page of history is missing: it could not be read when the feed was opened
    this.opening = new AbortController();
    this.controls();
    this.view();
    this.stream = new Stream(this.streamed());
    window.addEventListener('pagehide', () => this.stream.close());
    window.addEventListener('pageshow', (event) => { if (event.persisted && this.shown) this.start(); });
  }

  controls() {
    const go = (change) => this.visit({ ...this.query, ...change });
    const toggle = (name, value) => this.visit(toggled(this.query, name, value));
    this.filters = new Filters({
      apply: (chosen, broadcast) => go({ filters: chosen, broadcast }),
      remove: toggle,
      clear: () => go({ filters: read('').filters, broadcast: false }),
    });
    this.rail = new Rail({ toggle, suggest: (name, values) => this.filters.suggest(name, values) });
    this.replay = new Replay({ from: (from) => go({ from }) });
  }

  view() {
    const lookAt = (name, value) => this.visit(only({ ...this.query, from: 'now' }, name, value));
    this.feed = new Feed($('feed'), $('list'), {
      change: () => this.draw(),
      resized: () => this.selection.reveal(),
      reopen: (seq) => this.reopen(seq),
      latest: () => { this.toolbar.pause(false); this.visit({ ...this.query, from: 'now' }); },
    });
    this.toolbar = new Toolbar(this.feed, this.indicator);
    this.older = new Older(this.feed, () => ({ query: this.query, signal: this.opening.signal }));
    this.selection = new Selection(this.feed, {
      select: (message) => { this.detail.show(message); setHash(this.query, `#seq=${message.seq}`); },
    });
    this.detail = new Detail({
      replies: (id) => lookAt('in_reply_to', id),
      open: (id) => openId(this.detail, id),
      reply: (message) => this.on.reply(message),
      replay: (seq) => this.visit({ ...this.query, from: String(seq) }),
      move: (step) => this.selection.move(step),
      closed: () => { this.selection.set(null); setHash(this.query, ''); $('list').focus({ preventScroll: true }); },
    });
  }

  streamed() {
    return {
      state: (name, seconds = null, hint = '') => {
        if (name === 'reconnecting' && this.indicator.name !== name) this.poll.now();
        this.indicator.set({ name, detail: seconds, hint });
        this.feed.changed();
      },
      ready: (data, cursor) => {
        if (this.feed.size === 0) this.feed.base = cursor;
        this.head.saw(data.head);
        this.identity.refresh();
        if (this.owed) this.older.load().then(() => this.feed.latest());
        this.owed = false;
      },
      entry: (seq, kind, raw) => {
        this.rate.current += 1;
        this.head.saw(seq);
        this.feed.accept({ seq, kind, raw });
      },
      gap: (gap) => {
        if (gap.reason === 'ahead_of_log') this.startOver(gap.from - 1);
        this.feed.accept({ gap });
      },
      caughtUp: () => this.feed.settle(),
      problem: (problem) => this.refused(problem),
      denied: (code) => this.identity.denied(code),
    };
  }

  draw() {
    if (!this.shown) return;
    this.toolbar.draw();
    this.older.draw();
    empty(this.feed.size === 0, this.indicator.name, isFiltered(this.query), this.query.from);
  }

  // The address of this page, with the open message.
  get place() { return address(this.query) + (this.detail.message ? `#seq=${this.detail.message.seq}` : ''); }

  get keys() {
    const [down, up] = [() => this.selection.move(1), () => this.selection.move(-1)];
    const [latest, pause] = [() => this.feed.latest(), () => this.toolbar.toggle()];
    return {
      j: down, ArrowDown: down, k: up, ArrowUp: up, End: latest, G: latest, p: pause, ' ': pause,
      '/': () => this.filters.focus(), Escape: () => this.detail.close(),
      Enter: () => { if (this.detail.message) $('detail').focus(); },
    };
  }

  visit(next) {
    const known = this.shown && address(next) === address(this.query);
    window.history[known ? 'replaceState' : 'pushState'](null, '', address(next));
    this.stale = true;
    this.on.arrive();
  }

  show() {
    const next = read(location.search);
    const anew = this.stale || address(next) !== address(this.query);
    const back = !this.shown;
    Object.assign(this, { query: next, shown: true, stale: false });
    $('shell').hidden = false;
    if (anew) this.start();
    else if (back) this.goOn();
    openLinked(this.detail);
  }

  // Closes the stream, since browsers allow few connections per server. The feed continues from its last row when shown again.
  hide() {
    this.shown = false;
    this.opening.abort();
    this.stream.close();
    $('shell').hidden = true;
  }

  goOn() {
    const failed = !$('error').hidden;
    const newestOnly = this.query.from === 'now' && this.feed.follow && !this.feed.paused;
    if (failed || newestOnly || this.feed.size === 0) { this.start(); return; }
    this.opening = new AbortController();
    this.reopen(this.feed.last + 1);
  }

  // Reads nothing more. What is shown stays.
  stop() {
    this.opening.abort();
    this.stream.close();
    this.indicator.set({ name: 'stopped', detail: null });
    this.feed.changed();
  }

  reopen(seq) {
    this.feed.rewind();
    this.stream.open(params(this.query), seq);
  }

  // The log was replaced: nothing on the screen belongs to it.
  startOver(last) {
    this.feed.clear(true);
    Object.assign(this.feed, { base: last, trimmed: true });
    this.head.reset(last);
  }

  // Opens the feed that the address names. A live feed begins with the newest page of history.
  async start() {
    this.opening.abort();
    this.opening = new AbortController();
    const { query, feed, opening: { signal } } = this;
    const live = query.from === 'now';
    this.owed = false;
    this.stream.close();
    hideProblem();
    for (const part of [this.filters, this.rail]) part.show(query);
    this.replay.show(query.from);
    this.poll.task = query.filters.task.length === 1 ? query.filters.task[0] : null;
    this.poll.now();
    feed.clear(live);
    this.toolbar.pause(false);
    this.older.offer(!live && query.from !== 'start');
    this.indicator.set({ name: 'connecting', detail: null });
    if (!live) { this.stream.open(params(query), query.from); return; }
    try {
      const { messages, more, from, owed = false } = await newest(query, signal);
      if (signal.aborted) return;
      this.owed = owed;
      feed.fill(messages);
      if (from !== 'now') feed.base = from - 1;
      this.older.offer(more);
      this.stream.open(params(query), from);
    } catch (problem) {
      if (!signal.aborted) this.refused(problem);
    }
  }

  refused(problem) {
    const errors = problem.errors ?? [];
    this.indicator.set({ name: 'error', detail: null, hint: problem.message });
    this.filters.refuse(errors);
    this.replay.refuse(errors);
    if (errors.some((error) => FILTERS.includes(error.parameter))) this.filters.toggle(true);
    showProblem(problem, () => this.start());
    this.feed.changed();
  }
}
