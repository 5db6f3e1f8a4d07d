// sources: the field that filters dead letters by consumer or queue, and suggests known names.
import { el } from '../dom.js';

export class Sources {
  // choose(source): '' for all
  constructor(choose) {
    this.known = new Set();
    this.names = el('datalist', { id: 'known-source' });
    this.input = el('input', { name: 'source', 'data-testid': 'source', list: 'known-source', placeholder: 'all sources', spellcheck: 'false', autocapitalize: 'off', 'aria-label': 'Source: a consumer or a queue' });
    this.clear = el('button', { type: 'button', 'data-testid': 'source-clear', onclick: () => choose(''), hidden: true }, 'All sources');
    this.node = el('form', { class: 'sources', autocomplete: 'off', onsubmit: (event) => { event.preventDefault(); choose(this.input.value.trim()); } },
      this.input, this.names, el('button', { type: 'submit', 'data-testid': 'source-apply' }, 'Filter'), this.clear);
  }

  show(source) {
    this.input.value = source;
    this.clear.hidden = !source;
  }

  suggest(names) {
    const more = [...new Set(names)].filter((name) => !this.known.has(name));
    for (const name of more) this.known.add(name);
    this.names.append(...more.map((value) => el('option', { value })));
  }
}
