// tasks: the state and outcome of each task, derived from its events.
import { el } from '../dom.js';
import { count } from '../format.js';
import { feedOf, messageAt } from '../links.js';
import { hashOf } from '../route.js';
import { agent, badge, number } from './cells.js';
import { Choice } from './choice.js';
import { list } from './list.js';
import { More } from './more.js';
import { Page } from './page.js';
import { Table } from './table.js';

const EVERY_MS = 30_000; // every change of a task is in the log
const TONES = { completed: 'good', failed: 'bad', cancelled: '' };
const MOST_AGENTS = 4;

const state = (task) => badge(task.outcome ?? task.state, task.state === 'open' ? 'busy' : TONES[task.outcome]);

function agents({ agents: ids = [] }) {
  const more = ids.length - MOST_AGENTS;
  return el('span', { class: 'several' }, ids.slice(0, MOST_AGENTS).map(agent),
    more > 0 && el('small', { title: ids.slice(MOST_AGENTS).join(', ') }, `+${more}`));
}

const COLUMNS = [
  { title: 'Task', head: true, class: 'name', cell: ({ task_id: id }) => feedOf('task', id, {}, String(id)) },
  { title: 'State', cell: state },
  { title: 'Last event', cell: ({ last_event: event }) => event ?? '–' },
  { title: 'Agents', cell: agents },
  { title: 'Messages', class: 'figure', cell: ({ messages }) => number(messages) },
  { title: 'Late', class: 'figure', hint: 'Events after the one that ended the task', cell: ({ late_events: late }) => number(late) },
  { title: 'First', class: 'figure', cell: ({ first_seq: seq }) => messageAt(seq) },
  { title: 'Last', class: 'figure', cell: ({ last_seq: seq }) => messageAt(seq) },
];

const hasTask = (kind, raw) => kind === 'task' || raw.includes('"task_id"');
const STATES = [['All', ''], ['Open', 'open'], ['Done', 'done']];

export class Tasks extends Page {
  constructor(vitals) {
    super(vitals, { name: 'tasks', title: 'Tasks', every: EVERY_MS, about: 'Select a task to see its messages.', concerns: hasTask });
    this.table = new Table({ label: 'Tasks', testid: 'task', columns: COLUMNS, key: ({ task_id: id }) => id });
    this.states = new Choice('State of the tasks', 'tasks', STATES.map(([text, value]) => ({ text, value, href: hashOf('tasks', { state: value }) })));
    this.more = new More(() => this.refresher.now());
    this.tools.append(this.states.node);
    this.body.append(...this.table.nodes, this.more.button);
  }

  get state() { return this.route.params.get('state') ?? ''; }

  show(route) {
    if (route.params.get('state') !== this.route?.params.get('state')) this.more.reset();
    super.show(route);
    this.states.show(this.state);
  }

  read(signal) {
    return list('/v1/tasks', 'tasks', this.state ? { state: this.state } : {}, this.more.wanted, { signal, as: JSON.parse });
  }

  draw({ items, more }) {
    this.table.draw(items, this.state ? `No task is ${this.state}.` : 'There are no tasks yet.');
    this.more.offer(more);
  }

  summary({ items, more, asOf }) { return `${this.counted(items, 'task', more)} · as of ${count(asOf)}`; }
}
