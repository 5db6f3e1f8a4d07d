// queues: the waiting, leased and delayed jobs of each queue.
import { el } from '../dom.js';
import { get } from '../api.js';
import { lettersOf, number, seconds } from './cells.js';
import { Page } from './page.js';
import { Table } from './table.js';

const EVERY_MS = 2000; // jobs are not in the log

const COLUMNS = [
  { title: 'Queue', head: true, class: 'name', cell: ({ queue }) => el('b', {}, queue) },
  { title: 'Waiting', class: 'figure', hint: 'Jobs that a worker could lease now', cell: ({ waiting }) => number(waiting) },
  { title: 'Leased', class: 'figure', hint: 'Jobs leased to a worker now', cell: ({ leased }) => number(leased) },
  { title: 'Delayed', class: 'figure', hint: 'Jobs that become available later', cell: ({ delayed }) => number(delayed) },
  { title: 'Oldest', class: 'figure', hint: 'Age of the oldest waiting job', cell: ({ oldest_age_s: age }) => seconds(age) },
  { title: 'Dead letters', class: 'figure', cell: ({ queue, dead_letters: n }) => lettersOf(queue, n) },
  { title: 'Lease', class: 'figure', hint: 'How long a worker may hold a job', cell: ({ lease_s: s }) => seconds(s) },
  { title: 'Deliveries', class: 'figure', hint: 'After so many failed deliveries a job becomes a dead letter', cell: ({ max_deliver: n }) => number(n) },
  { title: 'Backoff', class: 'figure', hint: 'Seconds before each redelivery', cell: ({ backoff_s: steps }) => (steps?.length ? `${steps.join(', ')}s` : '–') },
];

export class Queues extends Page {
  constructor(vitals) {
    super(vitals, { name: 'queues', title: 'Queues', every: EVERY_MS, about: 'A job is leased to one worker, redelivered if it is not acknowledged, and becomes a dead letter after the last delivery.' });
    this.table = new Table({ label: 'Queues', testid: 'queue', columns: COLUMNS, key: ({ queue }) => queue });
    this.body.append(...this.table.nodes);
  }

  read(signal) { return get('/v1/queues', { signal, as: JSON.parse }); }

  draw({ queues = [] }) { this.table.draw(queues, 'No queue has been used yet.'); }

  summary({ queues = [] }) { return this.counted(queues, 'queue'); }
}
