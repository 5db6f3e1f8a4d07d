// filters: the filter form above the feed, a chip for each active filter, and the server's errors beside their fields.
import { $, el } from './dom.js';
import { FILTERS, split } from './query.js';

const form = $('filters');
const field = (name) => form.elements[name];

// on: {apply(filters, broadcast), remove(name, value), clear()}
export class Filters {
  constructor(on) {
    this.on = on;
    form.addEventListener('submit', (event) => { event.preventDefault(); this.submit(); });
    form.addEventListener('input', () => this.mark());
    form.elements.broadcast.addEventListener('change', () => this.submit());
    $('filters-toggle').addEventListener('click', () => this.toggle());
  }

  // in_reply_to has no field: links set it, its chip removes it.
  submit() {
    const filters = {};
    for (const name of FILTERS) filters[name] = field(name) ? split(field(name).value) : this.query.filters[name];
    this.toggle(false);
    this.on.apply(filters, form.elements.broadcast.checked);
  }

  show(query) {
    this.query = query;
    for (const name of FILTERS) if (field(name)) field(name).value = query.filters[name].join(', ');
    form.elements.broadcast.checked = query.broadcast;
    const chips = FILTERS.flatMap((name) => query.filters[name].map((value) => this.chip(name, value)));
    if (chips.length) chips.push(el('button', { type: 'button', class: 'link', 'data-testid': 'clear', onclick: () => this.on.clear() }, 'Clear'));
    $('chips').replaceChildren(...chips);
    $('filters-toggle').textContent = chips.length ? `Filters · ${chips.length - 1}` : 'Filters';
    this.refuse([]);
    this.mark();
  }

  chip(name, value) {
    return el('button', {
      type: 'button', class: 'chip', 'data-testid': 'chip', 'aria-label': `Remove filter ${name} ${value}`,
      onclick: () => this.on.remove(name, value),
    }, el('small', {}, name.replaceAll('_', ' ')), el('span', {}, value), el('span', { class: 'x', 'aria-hidden': 'true' }, '×'));
  }

  // Marks the fields that differ from the active filters.
  mark() {
    let changed = false;
    for (const name of FILTERS) {
      if (!field(name)) continue;
      const differs = split(field(name).value).join() !== this.query.filters[name].join();
      field(name).closest('label, .field').classList.toggle('changed', differs);
      changed ||= differs;
    }
    form.classList.toggle('changed', changed);
  }

  // errors: [{parameter, detail}]
  refuse(errors) {
    for (const name of FILTERS) {
      if (!field(name)) continue;
      const error = errors.find((each) => each.parameter === name);
      if (error) field(name).setAttribute('aria-invalid', 'true');
      else field(name).removeAttribute('aria-invalid');
      field(name).title = error?.detail ?? '';
    }
  }

  // Suggests values that the counts name.
  suggest(name, values) {
    const list = $(`known-${name}`);
    if (list.childElementCount !== values.length) list.replaceChildren(...values.map((value) => el('option', { value })));
  }

  toggle(open = !form.classList.contains('open')) {
    form.classList.toggle('open', open);
    $('filters-toggle').setAttribute('aria-expanded', String(open));
  }

  focus() {
    this.toggle(true);
    field('subject').focus();
    field('subject').select();
  }
}
