// consumers: the position of each consumer, and actions to pause, resume and reset it.
import { el } from '../dom.js';
import { get, send } from '../api.js';
import { count } from '../format.js';
import { messageAt } from '../links.js';
import { ask } from './ask.js';
import { badge, button, lettersOf, number, seconds } from './cells.js';
import { Page } from './page.js';
import { Table } from './table.js';

const EVERY_MS = 2000; // processing is not in the log
const TONES = { running: 'good', paused: 'busy' };
const UNHANDLED = 'no handler yet; the first one starts at the oldest message kept';

const pathOf = (name, verb) => `/v1/consumers/${encodeURIComponent(name)}/${verb}`;

const detail = (state, reason) => (reason ? el('small', { class: 'reason' }, reason) : state === 'unhandled' && el('small', {}, UNHANDLED));
const processed = ({ processed: done, failed, expired }) => [number(done),
  failed > 0 && el('small', { class: 'alarm' }, `${count(failed)} failed`), expired > 0 && el('small', {}, `${count(expired)} expired`)];

export class Consumers extends Page {
  constructor(vitals) {
    super(vitals, { name: 'consumers', title: 'Consumers', every: EVERY_MS, about: 'Each consumer keeps a position in the log and passes every later message to its handler.' });
    this.table = new Table({ label: 'Consumers', testid: 'consumer', columns: this.columns(), key: ({ name }) => name });
    this.body.append(...this.table.nodes);
  }

  columns() {
    return [
      { title: 'Consumer', head: true, class: 'name', cell: ({ name, filter }) => [el('b', {}, name), el('small', {}, filter)] },
      { title: 'State', cell: ({ state, reason }) => [badge(state, TONES[state]), detail(state, reason)] },
      { title: 'Pending', class: 'figure', hint: 'Messages not yet delivered to its handler', cell: ({ pending }) => number(pending) },
      { title: 'In flight', class: 'figure', cell: ({ in_flight: n }) => number(n) },
      { title: 'Redelivered', class: 'figure', cell: ({ redelivered: n }) => number(n) },
      { title: 'Lag', class: 'figure', hint: 'Messages behind the head, and the age of the oldest', cell: ({ lag }) => [number(lag?.messages), lag?.seconds > 0 && el('small', {}, seconds(lag.seconds))] },
      { title: 'Through', class: 'figure', hint: 'Every message up to this sequence is processed', cell: ({ processed_through: seq }) => (seq ? messageAt(seq) : number(0)) },
      { title: 'Processed', class: 'figure', hint: 'Successfully processed; below, failed attempts and messages skipped because they had expired', cell: processed },
      { title: 'Dead letters', class: 'figure', cell: ({ name, dead_letters: n }) => lettersOf(name, n) },
      { title: 'Actions', class: 'actions', cell: (consumer) => this.actions(consumer) },
    ];
  }

  actions({ name, state }) {
    const turn = state === 'paused'
      ? button('Resume', 'resume', () => this.turn(name, 'resume', 'runs again'), `Resume ${name}`)
      : button('Pause', 'pause-consumer', () => this.turn(name, 'pause', 'is paused'), `Pause ${name}`);
    return [turn, button('Reset…', 'reset', () => this.reset(name), `Reset ${name}`)];
  }

  turn(name, verb, result) {
    return this.act(`${name}: ${verb}`, () => send('POST', pathOf(name, verb)), () => `${name} ${result}.`);
  }

  reset(name) {
    ask({
      title: `Reset ${name}`,
      text: 'The consumer continues from this sequence. Later messages are processed, even if they were processed before; earlier ones are not.',
      confirm: 'Reset', danger: true, field: { label: 'from sequence', value: '1' },
      act: async (from) => {
        if (!/^\d+$/.test(from)) throw Object.assign(new Error('A sequence must be a whole number.'), { title: 'Not a sequence' });
        await send('POST', pathOf(name, 'reset'), `{"from":${Number(from)}}`);
        return () => this.finish(`${name} processes again from ${count(Number(from))}.`);
      },
    });
  }

  read(signal) { return get('/v1/consumers', { signal, as: JSON.parse }); }

  draw({ consumers = [] }) { this.table.draw(consumers, 'There are no consumers.'); }

  summary({ consumers = [] }) { return this.counted(consumers, 'consumer'); }
}
