// secret: shows the text of a new key, once.
import { $, copy, el } from '../dom.js';

const dialog = $('secret');
const form = $('secret-form');

// about: what the key is for
export function showSecret(about, key) {
  const text = el('input', { id: 'secret-key', 'data-testid': 'secret-key', readonly: true, spellcheck: 'false', autocomplete: 'off', value: key, onfocus: () => text.select() });
  const button = el('button', { type: 'button', class: 'primary', 'data-testid': 'secret-copy', onclick: async () => {
    await copy(key);
    button.textContent = 'Copied';
    text.select();
  } }, 'Copy');
  form.replaceChildren(
    el('header', {}, el('h2', { id: 'secret-title' }, about)),
    el('p', { class: 'full warning', id: 'secret-text' }, el('strong', {}, 'This key is not shown again.'),
      ' Store it now, for instance in the environment of the program that uses it (AGENTBUS_KEY). If it is lost, rotate the key.'),
    el('label', { class: 'full' }, el('span', {}, 'key'), el('div', { class: 'with-button' }, text, button)),
    el('footer', { class: 'full' }, el('button', { type: 'submit', 'data-testid': 'secret-done' }, 'Done')));
  dialog.showModal();
  button.focus();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  dialog.close();
  form.replaceChildren();
});

// Escape would lose the key. Browsers let `cancel` be prevented only once, so the key press is, too.
dialog.addEventListener('cancel', (event) => event.preventDefault());
dialog.addEventListener('keydown', (event) => { if (event.key === 'Escape') event.preventDefault(); });
