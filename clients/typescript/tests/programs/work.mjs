// Works on a queue. Prints {"begun": job_id, "attempt"} when a handler starts, and {"acked": job_id, "attempt"} when
// the server has the acknowledgement ("nacked", "failed" or "lost" likewise).

import { setTimeout as sleep } from "node:timers/promises";
import { connect, number, print, readArguments, termination } from "./common.mjs";

const USAGE =
  "usage: work.mjs --queue NAME [--concurrency N] [--count ACKNOWLEDGED] [--worker NAME] [--takes-ms MS]";

const {
  queue,
  concurrency,
  count,
  worker: name,
  "takes-ms": takesMs,
} = readArguments(USAGE, [...["queue", "concurrency", "count", "worker", "takes-ms"]]);
const takes = number(takesMs, 0);
let left = number(count, Number.POSITIVE_INFINITY);

async function handle({ job_id, attempt }) {
  print({ begun: job_id, attempt });
  if (takes > 0) await sleep(takes);
}

function onEnd({ job_id, attempt }, end) {
  print({ [end]: job_id, attempt });
  if (end === "acked") left -= 1;
  if (left <= 0) worker.stop();
}

const options = {
  concurrency: number(concurrency, 1),
  worker: name ?? "typescript",
  onEnd,
  signal: termination(),
};
const worker = connect().worker(queue, handle, options);
await worker.run();
