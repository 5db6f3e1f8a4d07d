// versions: the dialog with the versions of a schema, newest first.
import { $, el } from '../dom.js';
import { ago } from './ago.js';
import { badge } from './cells.js';

const dialog = $('versions');
const form = $('versions-form');

export function showVersions(name, versions) {
  const version = ({ version: n, mode, content, schema, created_at: at, created_by: by }, i) => el('details', { class: 'full', open: i === 0, 'data-testid': 'version' },
    el('summary', {}, `version ${n} `, badge(mode), ` content ${content}, `, ago(at), by ? ` by ${by}` : ''),
    el('pre', { class: 'mono', tabindex: 0, 'aria-label': `Version ${n}` }, JSON.stringify(schema, null, 2)));
  form.replaceChildren(
    el('header', {}, el('h2', { id: 'versions-title' }, `Versions of ${name}`),
      el('button', { type: 'button', class: 'icon', 'data-testid': 'versions-close', 'aria-label': 'Close', onclick: () => dialog.close() }, '×')),
    ...versions.map(version));
  dialog.showModal();
}

dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
