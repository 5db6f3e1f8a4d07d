// The programs for fault tests do what their callers expect: a line for each event, and an end by count or SIGTERM.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startServer, type TestServer } from "agentbus/testing";
import { quietBus } from "./support/bus.js";
import { startProgram } from "./support/program.js";
import { until } from "./support/wait.js";

let server: TestServer;
before(async () => {
  server = await startServer();
});
after(() => server[Symbol.asyncDispose]());

const start = (name: string, ...args: string[]) => startProgram(server.url, name, ...args);

test("what one program sends, another follows", async () => {
  const consumer = start("consume.mjs", "--from", "start", "--task", "t1", "--count", "25");
  const single = start("produce.mjs", "--task", "t1", "--count", "5");
  assert.equal(await single.ended, 0);
  const batched = start("produce.mjs", "--task", "t1", "--count", "20", "--batch", "8");
  assert.equal(await batched.ended, 0);
  assert.equal(await consumer.ended, 0);
  const sent = [...single.lines(), ...batched.lines()];
  assert.deepEqual(
    sent.map(({ n }) => n),
    [...Array(5).keys(), ...Array(20).keys()].map((i) => i + 1),
  );
  assert.deepEqual(
    consumer.lines(),
    sent.map(({ seq, id }) => ({ seq, id })),
  );
});

test("a worker ends by its count, and by SIGTERM", async () => {
  const { bus } = quietBus({ url: server.url });
  const ids = ["one", "two"].map(() => crypto.randomUUID());
  for (const id of ids) await bus.enqueue("jobs", "build", {}, { id });
  const worker = start("work.mjs", "--queue", "jobs", "--count", "2");
  assert.equal(await worker.ended, 0);
  const expected = ids.flatMap((id) => [
    { begun: id, attempt: 1 },
    { acked: id, attempt: 1 },
  ]);
  assert.deepEqual(worker.lines(), expected);

  const waiting = start("work.mjs", "--queue", "jobs");
  await bus.enqueue("jobs", "build", {});
  await until("the job is done", () => waiting.lines().length === 2);
  waiting.child.kill();
  assert.equal(await waiting.ended, 0);
});

test("a consumer ends by a sequence", async () => {
  const { bus } = quietBus({ url: server.url });
  await bus.send("note", { task: "t2" });
  const { seq } = await bus.send("note", { task: "t2" });
  const consumer = start("consume.mjs", "--since", "0", "--task", "t2", "--until-seq", String(seq));
  assert.equal(await consumer.ended, 0);
  assert.equal(consumer.lines().length, 2);
});
