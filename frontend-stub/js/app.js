// app: puts the parts together. The address says what is looked at; everything starts from it.
import { $, isTyping } from './dom.js';
import { address, FILTERS, isFiltered, only, params, read, toggled } from './query.js';
import { Compose } from './compose.js';
import { Detail } from './detail.js';
import { Feed } from './feed.js';
import { Filters } from './filters.js';
import { Head } from './head.js';
import { Indicator } from './indicator.js';
import { Older } from './older.js';
import { Poll } from './poll.js';
import { Rail } from './rail.js';
import { Rate } from './rate.js';
import { Replay } from './replay.js';
import { Selection } from './selection.js';
import { Stream } from './stream.js';
import { Strip } from './strip.js';
import { Toolbar } from './toolbar.js';
import { empty } from './empty.js';
import { hideProblem, showProblem } from './problem.js';
import { newest } from './tail.js';
import { openId, openLinked, setHash } from './permalink.js';
import { shortcuts } from './keys.js';

let query = read(location.search);
let opening = new AbortController();
let owed = false; // the newest page of history, which could not be read when the feed was opened

const head = new Head();
const indicator = new Indicator();
const rate = new Rate();
const strip = new Strip();
const compose = new Compose();

const go = (change) => visit({ ...query, ...change });
const toggle = (name, value) => visit(toggled(query, name, value));
const lookAt = (name, value) => visit(only({ ...query, from: 'now' }, name, value));

const filters = new Filters({
  apply: (chosen, broadcast) => go({ filters: chosen, broadcast }),
  remove: toggle,
  clear: () => go({ filters: read('').filters, broadcast: false }),
});
const rail = new Rail({ toggle, suggest: (name, values) => filters.suggest(name, values) });
const replay = new Replay({ from: (from) => go({ from }) });

const feed = new Feed($('feed'), $('list'), {
  change: () => {
    toolbar.draw();
    older.draw();
    empty(feed.size === 0, indicator.name, isFiltered(query), query.from);
  },
  resized: () => selection.reveal(),
  reopen: (seq) => { feed.rewind(); stream.open(params(query), seq); },
  latest: () => { toolbar.pause(false); go({ from: 'now' }); },
});
const toolbar = new Toolbar(feed, indicator);
const older = new Older(feed, () => ({ query, signal: opening.signal }));
const selection = new Selection(feed, {
  select: (message) => { detail.show(message); setHash(query, `#seq=${message.seq}`); },
});

const detail = new Detail({
  filter: lookAt,
  replies: (id) => lookAt('in_reply_to', id),
  open: (id) => openId(detail, id),
  reply: (message) => compose.answer(message),
  replay: (seq) => go({ from: String(seq) }),
  move: (step) => selection.move(step),
  closed: () => { selection.set(null); setHash(query, ''); $('list').focus({ preventScroll: true }); },
});

const stream = new Stream({
  state: (name, seconds = null, hint = '') => {
    if (name === 'reconnecting' && indicator.name !== name) poll.now();
    indicator.set({ name, detail: seconds, hint });
    feed.changed();
  },
  ready: (data, cursor) => {
    if (feed.size === 0) feed.base = cursor;
    head.saw(data.head);
    if (owed) older.load().then(() => feed.latest());
    owed = false;
  },
  entry: (seq, kind, raw) => {
    rate.current += 1;
    head.saw(seq);
    feed.accept({ seq, kind, raw });
  },
  gap: (gap) => {
    if (gap.reason === 'ahead_of_log') startOver(gap.from - 1);
    feed.accept({ gap });
  },
  caughtUp: () => feed.settle(),
  problem: refused,
});

const poll = new Poll({
  status: (status) => strip.set({ status, away: false }),
  stats: (stats) => {
    strip.set({ stats, away: false });
    rail.update(stats.counts);
    head.saw(stats.log?.last);
  },
  away: () => strip.set({ away: true }),
});

// The log is another one than before: what is on the screen is none of it.
function startOver(last) {
  feed.clear(true);
  Object.assign(feed, { base: last, trimmed: true });
  head.reset(last);
}

function visit(next) {
  const known = address(next) === address(query);
  query = next;
  window.history[known ? 'replaceState' : 'pushState'](null, '', address(query));
  start();
}

// Opens what the address says, from nothing. Live begins with the newest page of history.
async function start() {
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  const live = query.from === 'now';
  owed = false;
  stream.close();
  hideProblem();
  for (const part of [filters, rail]) part.show(query);
  replay.show(query.from);
  poll.task = query.filters.task.length === 1 ? query.filters.task[0] : null;
  poll.now();
  feed.clear(live);
  toolbar.pause(false);
  older.offer(!live && query.from !== 'start');
  indicator.set({ name: 'connecting', detail: null });
  if (!live) { stream.open(params(query), query.from); return; }
  try {
    const { messages, more, from, owed: missing = false } = await newest(query, signal);
    if (signal.aborted) return;
    owed = missing;
    feed.fill(messages);
    if (from !== 'now') feed.base = from - 1;
    older.offer(more);
    stream.open(params(query), from);
  } catch (problem) {
    if (!signal.aborted) refused(problem);
  }
}

function refused(problem) {
  const errors = problem.errors ?? [];
  indicator.set({ name: 'error', detail: null, hint: problem.message });
  filters.refuse(errors);
  replay.refuse(errors);
  if (errors.some((error) => FILTERS.includes(error.parameter))) filters.toggle(true);
  showProblem(problem, start);
  feed.changed();
}

window.addEventListener('popstate', () => {
  const next = read(location.search);
  const same = address(next) === address(query);
  query = next;
  if (!same) start();
  openLinked(detail);
});
window.addEventListener('pagehide', () => stream.close());
window.addEventListener('pageshow', (event) => { if (event.persisted) start(); });
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && isTyping(event.target)) event.target.blur();
});

const [down, up, latest, pause] = [() => selection.move(1), () => selection.move(-1), () => feed.latest(), () => toolbar.toggle()];
shortcuts({
  j: down, ArrowDown: down, k: up, ArrowUp: up, End: latest, G: latest, p: pause, ' ': pause,
  c: () => compose.open(), '/': () => filters.focus(), Escape: () => detail.close(),
  Enter: () => { if (detail.message) $('detail').focus(); },
});

start();
openLinked(detail);
