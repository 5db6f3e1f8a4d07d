// list: reads a list of the API, page by page, up to a number of entries.
import { get } from '../api.js';

const PAGE = 1000; // the largest page of the API
export const STEP = 100; // entries added by one click on "more"

// Exact at the as_of of the first page: later changes appear with the next refresh. The server may return short pages when
// entries are large; there are no more requests than full pages of STEP entries would need.
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
