// make_key: the dialog that makes a key, by preset or with grants as JSON.
import { $, el } from '../dom.js';
import { post } from '../api.js';
import { problemText } from '../problem.js';
import { PRESETS } from '../presets.js';

const dialog = $('make-key');
const form = $('make-key-form');
const field = (name) => form.elements[name];
const HOUR_S = 3600;
const LIVES = [['never', ''], ['in 1 hour', 1], ['in 1 day', 24], ['in 7 days', 7 * 24], ['in 30 days', 30 * 24], ['in 90 days', 90 * 24], ['in 1 year', 365 * 24]];
const RAW = 'raw';
const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;

const option = ([text, value]) => el('option', { value }, text);
const input = (name, attributes) => el('input', { name, 'data-testid': `key-${name}`, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', ...attributes });
const label = (name, text, control) => el('label', { 'data-field': name }, el('span', {}, text), control);

// done(key): called with the server's response
export function makeKey(done) {
  form.replaceChildren(
    el('header', {}, el('h2', { id: 'make-key-title' }, 'New key'), el('button', { type: 'button', class: 'icon', 'data-testid': 'key-cancel', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')),
    label('preset', 'preset', el('select', { name: 'preset', 'data-testid': 'key-preset' },
      Object.entries(PRESETS).map(([name, { title }]) => option([title, name])), option(['Grants as JSON', RAW]))),
    label('life', 'expires', el('select', { name: 'life', 'data-testid': 'key-life' }, LIVES.map(option))),
    label('of', '', input('of', { placeholder: 'ann' })),
    label('name', 'name of the key, for people', input('name', {})),
    label('kind', 'kind', el('select', { name: 'kind', 'data-testid': 'key-kind' }, ['agent', 'human', 'service'].map((kind) => option([kind, kind])))),
    el('p', { class: 'full about', id: 'key-about' }),
    el('label', { class: 'full' }, el('span', {}, 'grants'), el('textarea', { name: 'grants', 'data-testid': 'key-grants', class: 'mono', rows: 7, spellcheck: 'false' })),
    el('div', { class: 'full ask-error', role: 'alert', 'data-testid': 'key-error' }),
    el('footer', { class: 'full' }, el('small', {}, 'The key is shown once, when it is made.'), el('button', { type: 'submit', class: 'primary', 'data-testid': 'key-make' }, 'Make key')));
  form.onchange = form.oninput = () => show();
  form.onsubmit = (event) => { event.preventDefault(); submit(done); };
  show();
  dialog.showModal();
  field('preset').focus();
}

const preset = () => PRESETS[field('preset').value] ?? null;
const of = () => field('of').value.trim();

// Shows the fields and the grants of the chosen preset. Its grants are the start for those as JSON.
function show() {
  const chosen = preset();
  const of_ = form.querySelector('[data-field=of]');
  of_.hidden = !chosen?.noun;
  of_.firstChild.textContent = chosen?.noun === 'queue' ? 'queue' : `sender id of the ${chosen?.noun}`;
  field('of').placeholder = chosen?.noun === 'queue' ? 'builds' : 'ann';
  form.querySelector('[data-field=kind]').hidden = Boolean(chosen);
  $('key-about').textContent = chosen?.about ?? 'Lists that are left out grant nothing.';
  field('name').placeholder = chosen?.name(of() || field('of').placeholder) ?? 'what it is for';
  field('grants').readOnly = Boolean(chosen);
  if (!chosen) return;
  field('kind').value = chosen.kind;
  field('grants').value = written(chosen.grants(of() || field('of').placeholder));
}

// One line a list.
const written = (grants) => `{\n${Object.entries(grants).map(([name, list]) => `  ${JSON.stringify(name)}: [${list.map((entry) => JSON.stringify(entry)).join(', ')}]`).join(',\n')}\n}`;

const fault = (title, text) => Object.assign(new Error(text), { title });

// The body of the request, from what was entered.
function read() {
  const chosen = preset();
  if (chosen?.noun && !TOKEN.test(of())) {
    throw fault(chosen.noun === 'queue' ? 'Not a queue' : 'Not a sender id', 'Enter 1 to 64 letters, digits, - or _.');
  }
  const name = field('name').value.trim() || chosen?.name(of());
  if (!name) throw fault('No name', 'Enter a name, so that people know what the key is for.');
  let grants;
  try {
    grants = chosen ? chosen.grants(of()) : JSON.parse(field('grants').value);
  } catch (error) {
    throw fault('The grants are no JSON', error.message);
  }
  const hours = Number(field('life').value);
  const end = hours ? { expires_at: new Date(Date.now() + hours * HOUR_S * 1000).toISOString() } : {};
  return { name, kind: field('kind').value, grants, ...end };
}

async function submit(done) {
  const error = form.querySelector('[data-testid=key-error]');
  const button = form.querySelector('[data-testid=key-make]');
  button.disabled = true;
  error.replaceChildren();
  try {
    const made = await post('/v1/keys', JSON.stringify(read()));
    dialog.close();
    done(made);
  } catch (problem) {
    error.replaceChildren(problemText(problem));
  } finally {
    button.disabled = false;
  }
}
