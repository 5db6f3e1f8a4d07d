// query: the filters and start of the feed, and their form in the address of the page.

export const FILTERS = ['subject', 'kind', 'type', 'sender', 'recipient', 'task', 'conversation', 'in_reply_to'];

const unique = (values) => [...new Set(values)];
export const split = (text) => unique(text.split(/[\s,]+/).filter(Boolean));

// from: 'now', 'start', or a sequence as text; the server refuses anything else.
export function read(search) {
  const params = new URLSearchParams(search);
  const filters = {};
  for (const name of FILTERS) filters[name] = unique(params.getAll(name).flatMap(split));
  return { filters, broadcast: params.get('broadcast') === 'true', from: params.get('from') || 'now' };
}

// The filters as query parameters of the API.
export function params(query) {
  const out = new URLSearchParams();
  for (const name of FILTERS) for (const value of query.filters[name]) out.append(name, value);
  if (query.broadcast && query.filters.recipient.length) out.set('broadcast', 'true');
  return out;
}

export function address(query) {
  const out = params(query);
  if (query.from !== 'now') out.set('from', query.from);
  return `/${out.size ? `?${out}` : ''}`;
}

export const isFiltered = (query) => FILTERS.some((name) => query.filters[name].length > 0);

export function toggled(query, name, value) {
  const values = query.filters[name];
  const next = values.includes(value) ? values.filter((other) => other !== value) : [...values, value];
  return { ...query, filters: { ...query.filters, [name]: next } };
}

// The query with this filter alone, for links in a message.
export function only(query, name, value) {
  const filters = Object.fromEntries(FILTERS.map((other) => [other, []]));
  return { ...query, broadcast: false, filters: { ...filters, [name]: [value] } };
}
