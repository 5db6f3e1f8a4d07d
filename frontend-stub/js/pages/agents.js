// agents: the agents, their status, and their inboxes, exact at a sequence of the log.
import { count } from '../format.js';
import { feedOf } from '../links.js';
import { ago } from './ago.js';
import { agent, badge, number } from './cells.js';
import { list } from './list.js';
import { More } from './more.js';
import { Page } from './page.js';
import { Table } from './table.js';

const EVERY_MS = 10_000; // consuming an inbox is not in the log
const TONES = { online: 'good', idle: 'good', busy: 'busy', working: 'busy', error: 'bad', failed: 'bad' };

const hasAgent = (kind, raw) => kind !== 'task' || raw.includes('"recipient_id"');
const waiting = ({ agent_id: id, inbox }) => (inbox?.waiting ? feedOf('recipient', id, {}, count(inbox.waiting)) : number(inbox?.waiting ?? 0));

const COLUMNS = [
  { title: 'Agent', head: true, class: 'name', cell: ({ agent_id: id }) => agent(id) },
  { title: 'Role', cell: ({ role }) => role ?? '–' },
  { title: 'Status', cell: ({ status }) => (status ? badge(status, TONES[status]) : '–') },
  { title: 'Since', cell: ({ since }) => ago(since) },
  { title: 'Last seen', cell: ({ last_seen: seen }) => ago(seen) },
  { title: 'Lapses', hint: 'When the status ends unless the agent sends another one', cell: ({ expires_at: at }) => ago(at) },
  { title: 'Waiting', class: 'figure', hint: 'Messages for this agent that it has not consumed', cell: waiting },
  { title: 'Consumed through', class: 'figure', cell: ({ inbox }) => number(inbox?.consumed_through ?? 0) },
];

export class Agents extends Page {
  constructor(vitals) {
    super(vitals, { name: 'agents', title: 'Agents', every: EVERY_MS, about: 'Agents that have sent a status or a message, and what waits in their inboxes.', concerns: hasAgent });
    this.table = new Table({ label: 'Agents', testid: 'agent', columns: COLUMNS, key: ({ agent_id: id }) => id });
    this.more = new More(() => this.refresher.now());
    this.body.append(...this.table.nodes, this.more.button);
  }

  read(signal) { return list('/v1/agents', 'agents', {}, this.more.wanted, { signal, as: JSON.parse }); }

  draw({ items, more }) {
    this.table.draw(items, 'No agent has sent a message yet.');
    this.more.offer(more);
  }

  summary({ items, more, asOf }) { return `${this.counted(items, 'agent', more)} · as of ${count(asOf)}`; }
}
