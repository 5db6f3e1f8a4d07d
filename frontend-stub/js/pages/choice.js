// choice: a row of links of which one is active, such as the states of tasks. The address holds the choice.
import { el } from '../dom.js';

// options: [{text, href, value}]
export class Choice {
  constructor(label, testid, options) {
    this.links = options.map(({ text, href, value }) => ({ value, link: el('a', { href, 'data-testid': `${testid}-${value || 'all'}` }, text) }));
    this.node = el('nav', { class: 'choice', 'aria-label': label }, this.links.map(({ link }) => link));
  }

  show(value) {
    for (const each of this.links) {
      if (each.value === value) each.link.setAttribute('aria-current', 'true');
      else each.link.removeAttribute('aria-current');
    }
  }
}
