// list: the beginning of a list that the server hands out in pages, as far as it is wanted.
import { get } from '../api.js';

const PAGE = 1000; // as much as the server gives at once
export const STEP = 100; // by which a reader asks for more

// Exact at the first page's as_of: what changed since comes with the next refresh. A server that cuts its pages short,
// because what stands on them is large, is asked no oftener than for full ones of a step.
export async function list(path, member, params, wanted, options) {
  const items = [];
  let [next, asOf, asked] = [null, undefined, 0];
  do {
    const query = new URLSearchParams(params);
    query.set('limit', Math.min(PAGE, wanted - items.length));
    if (next !== null) query.set('after', next);
    const page = await get(`${path}?${query}`, options);
    asked += STEP;
    items.push(...(page[member] ?? []));
    asOf ??= page.as_of;
    next = page.next ?? null;
  } while (next !== null && items.length < wanted && asked < wanted);
  return { items, asOf, more: next !== null };
}
