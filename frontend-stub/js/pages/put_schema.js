// put_schema: the dialog that puts a schema, or tries it on the last messages.
import { $, el } from '../dom.js';
import { send } from '../api.js';
import { count } from '../format.js';
import { problemText } from '../problem.js';

const dialog = $('put-schema');
const form = $('put-schema-form');
const field = (name) => form.elements[name];
const KINDS = ['message', 'status', 'task'];
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
const EMPTY = { type: 'object', properties: { content: {}, metadata: { properties: {}, required: [] } } };

const choice = (name, values, chosen, attributes = {}) => el('select', { name, 'data-testid': `schema-${name}`, ...attributes },
  values.map((value) => el('option', { value, selected: value === chosen }, value)));
const label = (text, control) => el('label', {}, el('span', {}, text), control);

// known: the schema to change, or null. done(schema): called with the server's response.
export function putSchema(known, done) {
  const { kind = 'message', type = '', content = 'text', mode = 'enforce', schema = EMPTY } = known ?? {};
  form.replaceChildren(
    el('header', {}, el('h2', { id: 'put-schema-title' }, known ? `Schema of ${kind}/${type}` : 'New schema'),
      el('button', { type: 'button', class: 'icon', 'data-testid': 'schema-cancel', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')),
    label('kind of the messages', choice('kind', KINDS, kind, { disabled: Boolean(known) })),
    label('type of the messages', el('input', { name: 'type', 'data-testid': 'schema-type', value: type, placeholder: 'order', disabled: Boolean(known), spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off' })),
    label('content is', choice('content', ['text', 'json'], content)),
    label('what does not match', choice('mode', ['enforce', 'warn', 'off'], mode)),
    el('label', { class: 'full' }, el('span', {}, 'JSON Schema 2020-12 for {content, metadata}'),
      el('textarea', { name: 'schema', 'data-testid': 'schema-text', class: 'mono', rows: 12, spellcheck: 'false' }, JSON.stringify(schema, null, 2))),
    el('p', { class: 'full about', role: 'status', 'data-testid': 'schema-checked' }),
    el('div', { class: 'full ask-error', role: 'alert', 'data-testid': 'schema-error' }),
    el('footer', { class: 'full' }, el('button', { type: 'button', 'data-testid': 'schema-check', onclick: () => submit('?check=true', checked) }, 'Try on the last 1,000'),
      el('button', { type: 'submit', class: 'primary', 'data-testid': 'schema-put' }, 'Put schema')));
  form.onsubmit = (event) => { event.preventDefault(); submit('', (put) => { dialog.close(); done(put); }); };
  dialog.showModal();
  field(known ? 'schema' : 'type').focus();
}

const said = (text) => form.querySelector('[data-testid=schema-checked]').replaceChildren(text);

function checked({ incompatible }) {
  said(incompatible ? `${count(incompatible)} of the last messages do not match.` : 'The last messages match.');
}

const fault = (title, text) => Object.assign(new Error(text), { title });

// The path and body of the request, from what was entered.
function read() {
  const type = field('type').value.trim();
  if (!TOKEN.test(type)) throw fault('Not a type', 'Enter 1 to 64 letters, digits, - or _.');
  try {
    JSON.parse(field('schema').value);
  } catch (error) {
    throw fault('The schema is no JSON', error.message);
  }
  // The schema as it was entered: numbers keep their digits.
  const { content, mode } = { content: field('content').value, mode: field('mode').value };
  return [`/v1/schemas/${field('kind').value}/${type}`, `{"content":"${content}","mode":"${mode}","schema":${field('schema').value}}`];
}

async function submit(query, done) {
  const error = form.querySelector('[data-testid=schema-error]');
  const buttons = form.querySelectorAll('footer button');
  const enable = (yes) => buttons.forEach((button) => { button.disabled = !yes; });
  enable(false);
  error.replaceChildren();
  said('');
  try {
    const [path, body] = read();
    done(await send('PUT', path + query, body));
  } catch (problem) {
    error.replaceChildren(problemText(problem));
  } finally {
    enable(true);
  }
}
