// app: builds the page from its parts. The address names the open page; the top bar and the footer belong to all pages.
import { $, isTyping } from './dom.js';
import { route } from './route.js';
import { Compose } from './compose.js';
import { Head } from './head.js';
import { Identity, whyEnded } from './identity.js';
import { Indicator } from './indicator.js';
import { Live } from './live.js';
import { showLogIn } from './login.js';
import { Poll } from './poll.js';
import { Rate } from './rate.js';
import { Strip } from './strip.js';
import { Tabs } from './tabs.js';
import { Agents } from './pages/agents.js';
import { Consumers } from './pages/consumers.js';
import { DeadLetters } from './pages/dead_letters.js';
import { Keys } from './pages/keys.js';
import { Queues } from './pages/queues.js';
import { Schemas } from './pages/schemas.js';
import { Tasks } from './pages/tasks.js';
import { shortcuts } from './keys.js';
import { tick } from './pages/ago.js';

const head = new Head();
const indicator = new Indicator();
const rate = new Rate();
const strip = new Strip();
const compose = new Compose();
const identity = new Identity({
  known: () => {
    compose.sender(identity.sender);
    live.rail.may(identity.can('observe'));
    const changed = ['keys', 'schemas'].map((name) => tabs.allow(name, identity.can(name)));
    if (changed.includes(true) && open) arrive();
  },
  ended: () => { poll.stop(); open.stop(); },
});
const poll = new Poll({
  status: (status) => strip.set({ status, away: false }),
  stats: (stats) => {
    strip.set({ stats, away: false });
    live.rail.update(stats.counts);
    head.saw(stats.log?.last);
  },
  away: () => strip.set({ away: true }),
}, () => identity.can('observe'));

const vitals = { head, indicator, rate, poll, identity };
const tabs = new Tabs({ arrive });
const live = new Live(vitals, { arrive, reply: (message) => compose.answer(message) });
const pages = {
  live,
  agents: new Agents(vitals),
  tasks: new Tasks(vitals),
  consumers: new Consumers(vitals),
  queues: new Queues(vitals),
  'dead-letters': new DeadLetters(vitals),
  keys: new Keys(vitals),
  schemas: new Schemas(vitals),
};
let open = null;

// Shows the page that the address names.
function arrive() {
  const wanted = route(location.hash);
  const to = tabs.has(wanted.page) ? wanted : route('');
  const page = pages[to.page];
  if (open !== page) {
    open?.hide();
    open = page;
    indicator.set({ paused: false });
    tabs.mark(to.page);
  }
  page.show(to);
  if (identity.over) page.stop();
  tabs.live(live.place);
}

function start() {
  for (const change of ['popstate', 'hashchange']) window.addEventListener(change, arrive);
  shortcuts(() => ({ ...everywhere, ...open.keys }));
  tick();
  arrive();
  poll.start();
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  (open === live ? $('list') : open.root).focus();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && isTyping(event.target)) event.target.blur();
});

const digits = Object.keys(pages).map((_, i) => String(i + 1));
const everywhere = { c: () => compose.open(), ...Object.fromEntries(digits.map((digit) => [digit, () => tabs.press(digit)])) };

if (await identity.open()) start();
else showLogIn(whyEnded());
