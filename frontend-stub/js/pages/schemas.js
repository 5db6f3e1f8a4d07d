// schemas: what content and metadata of the messages of a type must be. A schema is put by pasting it; each put is a version.
import { el } from '../dom.js';
import { get, send } from '../api.js';
import { ago } from './ago.js';
import { ask } from './ask.js';
import { badge, button, number } from './cells.js';
import { Page } from './page.js';
import { putSchema } from './put_schema.js';
import { showVersions } from './versions.js';
import { Table } from './table.js';

const EVERY_MS = 5000; // schemas are not in the log
const TONES = { enforce: 'good', warn: 'busy' };
const MODES = { enforce: 'What does not match is refused', warn: 'What does not match is accepted with a warning', off: 'Nothing is checked' };

const nameOf = ({ kind, type }) => `${kind}/${type}`;
const pathOf = (name) => `/v1/schemas/${name.split('/').map(encodeURIComponent).join('/')}`;
const plain = { as: JSON.parse };

export class Schemas extends Page {
  constructor(vitals) {
    super(vitals, { name: 'schemas', title: 'Schemas', every: EVERY_MS, about: 'What the content and metadata of messages must be, by kind and type. Messages of other NATS clients are only counted.', concerns: () => false });
    this.table = new Table({ label: 'Schemas', testid: 'schema', columns: this.columns(), key: nameOf });
    this.tools.append(button('New schema…', 'put-schema', () => putSchema(null, (put) => this.put(put))));
    this.body.append(...this.table.nodes);
  }

  columns() {
    return [
      { title: 'Messages', head: true, class: 'name', cell: ({ kind, type }) => [el('b', {}, type), el('small', {}, kind)] },
      { title: 'Mode', cell: ({ mode }) => badge(mode, TONES[mode], MODES[mode]) },
      { title: 'Content', cell: ({ content }) => content },
      { title: 'Version', class: 'figure', cell: ({ version }) => number(version) },
      { title: 'Put', cell: ({ created_at: at, created_by: by }) => [ago(at), by && el('small', {}, `by ${by}`)] },
      { title: 'Actions', class: 'actions', cell: (schema) => this.actions(nameOf(schema)) },
    ];
  }

  actions(name) {
    return [
      button('Versions', 'versions', () => this.look(name, '/versions', ({ versions }) => showVersions(name, versions)), `Versions of ${name}`),
      button('Change…', 'change', () => this.look(name, '', (schema) => putSchema(schema, (put) => this.put(put))), `Change ${name}`),
      button('Delete…', 'delete', () => this.remove(name), `Delete ${name}`)];
  }

  // Reads a schema and shows it in a dialog.
  async look(name, below, show) {
    try {
      show(await get(pathOf(name) + below, plain));
    } catch (problem) {
      this.refuse(problem, name);
    }
  }

  put(schema) { this.finish(`${nameOf(schema)} is at version ${schema.version}.`); }

  remove(name) {
    ask({
      title: `Delete the schema of ${name}`, confirm: 'Delete', danger: true,
      text: 'All its versions are deleted, and its messages are not checked any more. To keep the versions, change the mode to off.',
      act: async () => {
        await send('DELETE', pathOf(name));
        return () => { this.heading.focus({ preventScroll: true }); this.finish(`The schema of ${name} is deleted.`); };
      },
    });
  }

  read(signal) { return get('/v1/schemas', { signal, ...plain }); }

  draw({ schemas = [] }) { this.table.draw(schemas, 'There are no schemas: no message is checked.'); }

  summary({ schemas = [] }) { return this.counted(schemas, 'schema'); }
}
