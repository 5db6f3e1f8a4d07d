// ask: confirms an action that cannot be undone. The dialog shows why the server refused it.
import { $, el } from '../dom.js';
import { problemText } from '../problem.js';

const dialog = $('ask');
const form = $('ask-form');

// field: {label, value} of a number to enter, {label, options: [[text, value]]} to choose from, or null. act(text) performs the
// action, may throw, and returns a function to call when the dialog is closed.
export function ask({ title, text, confirm, danger = false, field = null, act }) {
  const input = field && (field.options ? choice(field.options) : number(field.value));
  const error = el('div', { class: 'full ask-error', role: 'alert', 'data-testid': 'ask-error' });
  const yes = el('button', { type: 'submit', class: danger ? 'danger' : 'primary', 'data-testid': 'ask-confirm' }, confirm);
  form.replaceChildren(
    el('header', {}, el('h2', { id: 'ask-title' }, title)),
    el('p', { class: 'full', id: 'ask-text' }, text),
    ...(input ? [el('label', { class: 'full' }, el('span', {}, field.label), input)] : []),
    error,
    el('footer', { class: 'full' }, el('button', { type: 'button', 'data-testid': 'ask-cancel', onclick: () => dialog.close() }, 'Cancel'), yes));
  form.onsubmit = async (event) => {
    event.preventDefault();
    yes.disabled = true;
    error.replaceChildren();
    try {
      const after = await act(input?.value.trim().replaceAll(',', ''));
      dialog.close();
      after();
    } catch (problem) {
      error.replaceChildren(problemText(problem));
      input?.focus();
    } finally {
      yes.disabled = false;
    }
  };
  dialog.showModal();
  (input ?? form.querySelector('[data-testid=ask-cancel]')).focus();
  input?.select?.();
}

const number = (value) => el('input', { id: 'ask-value', 'data-testid': 'ask-value', inputmode: 'numeric', autocomplete: 'off', spellcheck: 'false', value });

const choice = (options) => el('select', { id: 'ask-value', 'data-testid': 'ask-value' },
  options.map(([text, value]) => el('option', { value }, text)));

dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
