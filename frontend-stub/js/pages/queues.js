// queues: the jobs that wait, are leased and are put off, queue by queue.
import { el } from '../dom.js';
import { get } from '../api.js';
import { lettersOf, number, seconds } from './cells.js';
import { Page } from './page.js';
import { Table } from './table.js';

const EVERY_MS = 2000; // jobs are not in the log

const COLUMNS = [
  { title: 'Queue', head: true, class: 'name', cell: ({ queue }) => el('b', {}, queue) },
  { title: 'Waiting', class: 'figure', hint: 'Jobs that a worker could lease now', cell: ({ waiting }) => number(waiting) },
  { title: 'Leased', class: 'figure', hint: 'Jobs that a worker has now', cell: ({ leased }) => number(leased) },
  { title: 'Delayed', class: 'figure', hint: 'Jobs whose time has not come', cell: ({ delayed }) => number(delayed) },
  { title: 'Oldest', class: 'figure', hint: 'Age of the oldest job that waits', cell: ({ oldest_age_s: age }) => seconds(age) },
  { title: 'Dead letters', class: 'figure', cell: ({ queue, dead_letters: n }) => lettersOf(queue, n) },
  { title: 'Lease', class: 'figure', hint: 'How long a worker has a job', cell: ({ lease_s: s }) => seconds(s) },
  { title: 'Deliveries', class: 'figure', hint: 'After so many without success a job is a dead letter', cell: ({ max_deliver: n }) => number(n) },
  { title: 'Backoff', class: 'figure', hint: 'Seconds before each further delivery', cell: ({ backoff_s: steps }) => (steps?.length ? `${steps.join(', ')}s` : '–') },
];

export class Queues extends Page {
  constructor(vitals) {
    super(vitals, { name: 'queues', title: 'Queues', every: EVERY_MS, about: 'A job goes to one worker, again if it is not done, and ends as a dead letter.' });
    this.table = new Table({ label: 'Queues', testid: 'queue', columns: COLUMNS, key: ({ queue }) => queue });
    this.body.append(...this.table.nodes);
  }

  read(signal) { return get('/v1/queues', { signal, as: JSON.parse }); }

  draw({ queues = [] }) { this.table.draw(queues, 'No queue has been used yet.'); }

  summary({ queues = [] }) { return this.counted(queues, 'queue'); }
}
