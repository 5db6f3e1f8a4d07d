// Lists that the server gives page by page.

import type { CallOptions, Query, Transport } from "./transport.js";

type Page<Name extends string, Item> = { [name in Name]: Item[] } & { next: string | number | null };

/** All items of a list, one page at a time. `passOn` is the parameter that takes a page's `next`. */
export async function* pages<Name extends string, Item>(
  transport: Transport,
  path: string,
  name: Name,
  query: Query,
  options: CallOptions,
  passOn = "after",
): AsyncGenerator<Item, void, undefined> {
  for (let next: string | number | undefined; ; ) {
    const call = {
      method: "GET",
      path,
      query: next === undefined ? query : { ...query, [passOn]: next },
    } as const;
    const page = await transport.json<Page<Name, Item>>({ ...call, ...options });
    yield* page[name];
    if (page.next === null || page.next === undefined) return;
    next = page.next;
  }
}
