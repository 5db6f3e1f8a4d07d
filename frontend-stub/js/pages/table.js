// table: rows with keys. Unchanged cells stay in place, so that focus and clicks survive a refresh.
import { el } from '../dom.js';

export class Table {
  // columns: [{title, class, head, hint, cell(item)}]; key(item) names a row; mark(item): attributes of the row.
  // A listener in a cell may use only the key and what the cell shows, since an equal cell is not replaced.
  constructor({ label, testid, columns, key, mark = () => ({}) }) {
    Object.assign(this, { testid, columns, key, mark, rows: new Map() });
    const titles = columns.map(({ title, hint, ...column }) =>
      el('th', { role: 'columnheader', scope: 'col', class: column.class, title: hint }, title));
    this.body = el('tbody', { role: 'rowgroup' });
    // Explicit roles: the narrow layout displays the table as blocks, which removes its implicit roles.
    this.table = el('table', { role: 'table', 'aria-label': label, hidden: true },
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, titles)), this.body);
    this.nothing = el('p', { class: 'nothing', 'data-testid': 'nothing', hidden: true });
    this.nodes = [this.table, this.nothing];
  }

  // nothing: the text shown when there are no items.
  draw(items, nothing) {
    this.table.hidden = items.length === 0;
    this.nothing.hidden = items.length > 0;
    this.nothing.textContent = nothing;
    const rows = new Map();
    for (const item of items) {
      const key = String(this.key(item));
      rows.set(key, this.row(this.rows.get(key) ?? el('tr', { role: 'row', 'data-testid': this.testid, 'data-key': key }), item));
    }
    for (const [key, row] of this.rows) if (!rows.has(key)) row.remove();
    this.rows = rows;
    let at = this.body.firstElementChild;
    for (const row of rows.values()) {
      if (row === at) at = at.nextElementSibling;
      else this.body.insertBefore(row, at);
    }
  }

  row(row, item) {
    for (const [name, value] of Object.entries(this.mark(item))) {
      if (value) row.setAttribute(name, value);
      else row.removeAttribute(name);
    }
    this.columns.forEach((column, i) => {
      const cell = this.cell(column, item);
      const old = row.children[i];
      if (!old) row.append(cell);
      else if (!old.isEqualNode(cell)) this.replace(old, cell);
    });
    return row;
  }

  // Keeps the focus in the cell: after "Pause" it is on "Resume".
  replace(old, cell) {
    const targets = (node) => [...node.querySelectorAll('a, button')];
    const focused = targets(old).indexOf(document.activeElement);
    old.replaceWith(cell);
    if (focused >= 0) targets(cell)[focused]?.focus({ preventScroll: true });
  }

  cell(column, item) {
    const attributes = column.head ? { role: 'rowheader', scope: 'row' } : { role: 'cell' };
    return el(column.head ? 'th' : 'td', { ...attributes, class: column.class, 'data-title': column.title }, [column.cell(item)].flat());
  }
}
