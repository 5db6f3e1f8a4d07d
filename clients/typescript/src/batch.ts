// Batches of lines of JSON, split at the server's limits, with one result for each item, in order.

import { BATCH_BYTES, BATCH_ITEMS } from "./limits.js";
import type { CallOptions, Query, Transport } from "./transport.js";
import type { BatchResult } from "./types.js";

/** Posts the items, as many requests as it takes, and returns their results in order. */
export async function postBatch<Accepted>(
  transport: Transport,
  path: string,
  items: AsyncIterable<unknown>,
  query: Query,
  options: CallOptions,
): Promise<BatchResult<Accepted>[]> {
  const results: BatchResult<Accepted>[] = [];
  for await (const body of bodies(items)) {
    const answer = await transport.json<{ results: BatchResult<Accepted>[] }>({
      method: "POST",
      path,
      query,
      body,
      contentType: "application/x-ndjson",
      repeatable: true,
      ...options,
    });
    for (const result of answer.results) results.push(result);
  }
  return results;
}

/** Bodies within the limits. An item beyond them goes alone, for the server to refuse. */
async function* bodies(items: AsyncIterable<unknown>): AsyncGenerator<string> {
  const encoder = new TextEncoder();
  let lines: string[] = [];
  let bytes = 0;
  for await (const item of items) {
    const line = `${JSON.stringify(item)}\n`;
    const size = encoder.encode(line).length;
    if (lines.length > 0 && (lines.length === BATCH_ITEMS || bytes + size > BATCH_BYTES)) {
      yield lines.join("");
      lines = [];
      bytes = 0;
    }
    lines.push(line);
    bytes += size;
  }
  if (lines.length > 0) yield lines.join("");
}
