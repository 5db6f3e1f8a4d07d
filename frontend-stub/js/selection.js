// selection: the selected row, chosen by click or keyboard.
import { messageOf } from './row.js';

export class Selection {
  // on: {select(message)}
  constructor(feed, on) {
    Object.assign(this, { feed, list: feed.list, on, row: null });
    feed.list.addEventListener('click', (event) => this.set(event.target.closest('.row')));
  }

  set(row) {
    this.row?.setAttribute('aria-selected', 'false');
    this.row = row ?? null;
    this.list.removeAttribute('aria-activedescendant');
    if (!row) return;
    this.feed.hold();
    row.setAttribute('aria-selected', 'true');
    this.list.setAttribute('aria-activedescendant', row.id);
    this.on.select(messageOf(row));
    this.reveal();
  }

  reveal() { this.row?.scrollIntoView({ block: 'nearest' }); }

  // Without a selection, begins at the newest row; if the selected row was removed, at the nearest end.
  move(step) {
    const rows = [...this.list.querySelectorAll('.row')];
    const at = rows.indexOf(this.row);
    const next = at >= 0 ? rows[at + step] : this.row && step > 0 ? rows[0] : rows.at(-1);
    if (next) this.set(next);
  }
}
