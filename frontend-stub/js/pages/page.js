// page: what all pages but the feed share: a heading, a table, problems, and refreshing.
import { $, el } from '../dom.js';
import { count } from '../format.js';
import { problemText } from '../problem.js';
import { Stream } from '../stream.js';
import { Refresher } from './refresher.js';

const PATIENCE_MS = 10_000;
const REST_MS = 4000; // before the next request after a failed one
const FORBIDDEN_REST_MS = 60_000; // grants change seldom

export class Page {
  // every: milliseconds after which the page is read again even if no message concerns it.
  // concerns(kind, raw): whether a message of the log may change what the page shows.
  constructor({ head, indicator, rate, identity }, { name, title, about, every, concerns = () => true }) {
    Object.assign(this, { head, indicator, rate, identity, name, title, concerns, route: null, asOf: 0, seen: 0, following: false });
    this.stream = new Stream(this.streamed());
    this.refresher = new Refresher(() => this.load(), every);
    this.life = new AbortController();
    this.build(about);
  }

  // Each page implements read(signal), which fetches the data, draw(data) and summary(data), which returns a short text.

  build(about) {
    this.heading = el('h1', { id: `${this.name}-title`, tabindex: -1 }, this.title);
    this.summaryLine = el('span', { class: 'summary', 'data-testid': 'summary' });
    this.tools = el('div', { class: 'tools' });
    this.notice = el('p', { class: 'notice', role: 'status', 'data-testid': 'notice' });
    this.problem = el('div', { class: 'problem', role: 'alert', 'data-testid': 'problem', hidden: true });
    this.refusal = el('div', { class: 'problem', role: 'alert', 'data-testid': 'refusal', hidden: true });
    this.body = el('div', { class: 'page-body' });
    this.root = el('main', { class: 'page', tabindex: -1, 'aria-labelledby': this.heading.id, 'data-testid': `page-${this.name}`, hidden: true },
      el('header', { class: 'page-head' }, el('div', {}, this.heading, el('p', { class: 'about' }, about)), this.summaryLine, this.tools),
      this.notice, this.refusal, this.problem, this.body);
    $('pages').append(this.root);
  }

  get keys() { return {}; }

  show(route) {
    const known = this.route && `${route.params}` === `${this.route.params}`;
    this.route = route;
    if (!this.root.hidden && known) return;
    if (this.root.hidden) {
      this.root.hidden = false;
      this.indicator.set({ name: 'connecting', detail: null, hint: '' });
    }
    this.say('');
    this.refuse(null);
    this.refresher.start();
  }

  hide() {
    this.root.hidden = true;
    this.life.abort();
    this.refresher.stop();
    this.stream.close();
    this.following = false;
  }

  // Reads nothing more. What is shown stays.
  stop() {
    this.life.abort();
    this.refresher.stop();
    this.stream.close();
    this.indicator.set({ name: 'stopped', detail: null });
  }

  async load() {
    this.life.abort();
    this.life = new AbortController();
    const { signal } = this.life;
    try {
      const data = await this.read(AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]));
      if (signal.aborted) return undefined;
      this.trouble(null);
      this.draw(data);
      this.summaryLine.textContent = this.summary(data);
      this.follow(data.asOf);
      this.asOf = data.asOf ?? this.seen;
      if (this.asOf < this.seen) this.refresher.nudge(); // the fold is behind the log
      return undefined;
    } catch (problem) {
      if (signal.aborted) return undefined;
      this.trouble(problem);
      this.follow();
      return problem.status === 403 ? FORBIDDEN_REST_MS : Math.max(REST_MS, (problem.retryAfter ?? 0) * 1000);
    }
  }

  // The log goes on from what was read, so that nothing between the two is missed.
  follow(asOf) {
    if (this.following) return;
    Object.assign(this, { following: true, seen: 0 });
    this.stream.open(new URLSearchParams(), asOf === undefined ? 'now' : asOf + 1);
  }

  streamed() {
    const saw = (seq) => {
      this.seen = Math.max(this.seen, seq);
      if (this.seen > this.asOf) this.refresher.nudge();
    };
    return {
      state: (name, seconds = null, hint = '') => this.indicator.set({ name, detail: seconds, hint }),
      ready: ({ head = 0 }) => { this.identity.refresh(); this.head.saw(head); saw(head); },
      entry: (seq, kind, raw) => {
        this.rate.current += 1;
        this.head.saw(seq);
        if (this.concerns(kind, raw)) saw(seq);
      },
      gap: ({ reason, from }) => {
        if (reason === 'ahead_of_log') this.startOver(from - 1);
        this.refresher.nudge();
      },
      caughtUp: () => {},
      problem: (problem) => this.unfollowed(problem),
      denied: (code) => this.identity.denied(code),
    };
  }

  // The stream was refused. A key that may not read the log may read lists: they are read at the interval.
  unfollowed(problem) {
    if (problem.status === 403) this.indicator.set({ name: 'asking', detail: null, hint: problem.message });
    else this.trouble(problem);
  }

  // The log was replaced by a shorter one.
  startOver(last) {
    Object.assign(this, { seen: 0, asOf: 0 });
    this.head.reset(last);
  }

  // Shows why the page cannot be loaded, until loading succeeds again. The old data stays.
  trouble(problem) {
    this.problem.hidden = !problem;
    this.root.classList.toggle('old', Boolean(problem));
    const known = problem && this.problem.dataset.said === `${problem.status} ${problem.message}`;
    if (known) return; // screen readers must not read it again at each attempt
    this.problem.dataset.said = problem ? `${problem.status} ${problem.message}` : '';
    const again = el('button', { type: 'button', onclick: () => this.refresher.now() }, 'Try again');
    const lead = problem?.needs ? `${this.title}` : `${this.title} cannot be loaded`;
    this.problem.replaceChildren(...(problem ? [problemText(problem, lead), again] : []));
  }

  // Shows why an action was refused, until it is dismissed or another action is taken.
  refuse(problem, lead) {
    this.refusal.hidden = !problem;
    const away = el('button', { type: 'button', 'data-testid': 'dismiss', onclick: () => { this.refuse(null); this.heading.focus(); } }, 'Dismiss');
    this.refusal.replaceChildren(...(problem ? [problemText(problem, lead), away] : []));
  }

  say(text) { this.notice.textContent = text; }

  // Reports that an action succeeded, and loads the page again.
  finish(text) {
    this.refuse(null);
    this.say(text);
    this.refresher.now();
  }

  // Performs the action of a button. done(response) returns the text that reports it.
  async act(lead, call, done) {
    try {
      this.finish(done(await call()));
    } catch (problem) {
      this.finish('');
      this.refuse(problem, lead);
    }
  }

  // "3 agents", "100+ agents"
  counted(items, one, more = false) {
    return `${count(items.length)}${more ? '+' : ''} ${one}${items.length === 1 && !more ? '' : 's'}`;
  }
}
