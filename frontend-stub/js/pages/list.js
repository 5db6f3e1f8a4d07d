// list: the beginning of a list that the server hands out in pages, as far as it is wanted.
import { get } from '../api.js';

const PAGE = 1000; // as much as the server gives at once
export const STEP = 100; // by which a reader asks for more

// Exact at the first page's as_of: what changed since comes with the next refresh.
export async function list(path, member, params, wanted, options) {
  const items = [];
  let [next, asOf] = [null, undefined];
  do {
    const asked = new URLSearchParams(params);
    asked.set('limit', Math.min(PAGE, wanted - items.length));
    if (next !== null) asked.set('after', next);
    const page = await get(`${path}?${asked}`, options);
    items.push(...(page[member] ?? []));
    asOf ??= page.as_of;
    next = page.next ?? null;
  } while (next !== null && items.length < wanted);
  return { items, asOf, more: next !== null };
}
