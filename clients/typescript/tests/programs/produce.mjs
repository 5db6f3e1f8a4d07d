// Sends messages with the contents 1, 2, … N, and prints {"n", "seq", "id", "duplicate"} for each acknowledgement.

import { connect, number, print, readArguments, termination } from "./common.mjs";

const USAGE = "usage: produce.mjs --task NAME [--count N] [--sender NAME] [--batch N]";

const { task, count, sender, batch } = readArguments(USAGE, ["task", "count", "sender", "batch"]);
const last = number(count, 1);
const size = number(batch, 1);
const signal = termination();
const bus = connect();

const message = (n) => ({ type: "note", task, sender, content: String(n) });

async function sendBatch(numbers) {
  const results = await bus.sendMany(numbers.map(message), { signal });
  for (const [i, result] of results.entries()) {
    if ("error" in result) throw new Error(`message ${numbers[i]} is refused: ${JSON.stringify(result)}`);
    print({ n: numbers[i], seq: result.seq, id: result.id, duplicate: result.duplicate });
  }
}

async function sendOne(n) {
  const { type, ...rest } = message(n);
  const { seq, id, duplicate } = await bus.send(type, rest, { signal });
  print({ n, seq, id, duplicate });
}

try {
  for (let n = 1; n <= last; n += size) {
    const numbers = Array.from({ length: Math.min(size, last - n + 1) }, (_, i) => n + i);
    await (size === 1 ? sendOne(n) : sendBatch(numbers));
  }
} catch (error) {
  if (!signal.aborted) throw error;
}
