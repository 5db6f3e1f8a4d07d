// Follows a stream, and prints {"seq", "id"} for each message and {"gap": {"from", "to", "reason"}} for each gap.

import { connect, number, print, readArguments, termination } from "./common.mjs";

const USAGE = `usage: consume.mjs [--from start|now|SEQ | --since SEQ] [--until-seq SEQ] [--count N]
  [--subject PATTERN] [--kind KIND] [--type TYPE] [--sender NAME] [--recipient NAME] [--task NAME] [--conversation NAME]`;
const FILTERS = ["subject", "kind", "type", "sender", "recipient", "task", "conversation"];

const {
  from,
  since,
  count,
  "until-seq": untilSeq,
  ...filters
} = readArguments(USAGE, [...["from", "since", "until-seq", "count"], ...FILTERS]);
const start = { from: /^\d+$/.test(from ?? "") ? Number(from) : from, since: number(since) };
const last = number(untilSeq, Number.POSITIVE_INFINITY);
const signal = termination();
const bus = connect();

let left = number(count, Number.POSITIVE_INFINITY);
try {
  for await (const event of bus.stream({ ...filters, ...start }, { signal })) {
    if (event.kind === "gap") {
      print({ gap: { from: event.from, to: event.to, reason: event.reason } });
      continue;
    }
    print({ seq: event.seq, id: event.id });
    left -= 1;
    if (event.seq >= last || left <= 0) break;
  }
} catch (error) {
  if (!signal.aborted) throw error;
}
