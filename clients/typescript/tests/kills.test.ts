// A producer, a consumer and a worker while the server is killed again and again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startServer } from "agentbus/testing";
import { quietBus } from "./support/bus.js";
import { startProgram } from "./support/program.js";

const MESSAGES = 1000;
const JOBS = 20;
/** How long the server runs between two kills, in milliseconds. */
const LIFE_MS = 500;

test("nothing is lost or repeated while the server is killed again and again", {
  timeout: 120_000,
}, async () => {
  await using server = await startServer();
  const { bus } = quietBus({ url: server.url });
  const jobs = Array.from({ length: JOBS }, (_, i) => ({ type: "build", payload: i }));
  await bus.enqueueMany("kills", jobs);
  const start = (name: string, ...args: string[]) => startProgram(server.url, name, ...args);
  const consumer = start("consume.mjs", "--from", "start", "--task", "kills", "--count", String(MESSAGES));
  const producer = start("produce.mjs", "--task", "kills", "--count", String(MESSAGES));
  const worker = start("work.mjs", "--queue", "kills", "--count", String(JOBS), "--takes-ms", "50");

  let ended: (number | null)[] | undefined;
  const all = Promise.all([consumer.ended, producer.ended, worker.ended]).then((codes) => {
    ended = codes;
  });
  let kills = 0;
  while (ended === undefined) {
    await Promise.race([all, sleep(LIFE_MS)]);
    await server.kill();
    await server.start();
    kills += 1;
  }
  assert.deepEqual(ended, [0, 0, 0]);
  assert.ok(kills >= 3, `${kills} kills`);

  const sent = producer.lines().map(({ seq, id }) => ({ seq, id }));
  assert.deepEqual(consumer.lines(), sent, "each message once and in order");
  const acked = worker.lines().filter((line) => "acked" in line);
  assert.equal(new Set(acked.map((line) => line.acked)).size, JOBS, "each job is done");
});
