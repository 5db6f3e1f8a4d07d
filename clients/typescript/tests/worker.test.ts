// Workers against the real server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  type Job,
  type JobContext,
  type JobEnd,
  NotFoundError,
  PermanentFailure,
  RetryLater,
  UnauthenticatedError,
} from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { collect, quietBus } from "./support/bus.js";
import { FaultyProxy } from "./support/faulty_proxy.js";
import { until } from "./support/wait.js";

let server: TestServer;
before(async () => {
  server = await startServer({ rootKey: `ab_root_${"0".repeat(40)}` });
});
after(() => server[Symbol.asyncDispose]());

const connect = (url = server.url) => quietBus({ url, agent: "worker" }).bus;

/** A promise that is resolved from outside. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

async function enqueue(queue: string, count: number): Promise<void> {
  const jobs = Array.from({ length: count }, (_, i) => ({ type: "build", payload: { number: i } }));
  for (const result of await connect().enqueueMany(queue, jobs)) assert.ok(!("error" in result));
}

test("as many handlers run at a time as the worker may, and no more", async () => {
  await enqueue("wide", 10);
  let running = 0;
  let most = 0;
  const done: unknown[] = [];
  const enough = gate();
  const handler = async ({ payload }: Job) => {
    running += 1;
    most = Math.max(most, running);
    if (running === 3) enough.open();
    await enough.opened;
    running -= 1;
    done.push((payload as { number: number }).number);
  };
  const worker = connect().worker("wide", handler, { concurrency: 3 });
  const finished = worker.run();
  await until("all are done", () => done.length === 10);
  await worker.stop();
  await finished;
  assert.equal(most, 3);
  const { waiting, leased } = await connect().queues.get("wide");
  assert.deepEqual([waiting, leased], [0, 0]);
});

test("the lease of a job is extended while its handler runs", async () => {
  await connect().queues.set("long", { lease_s: 1, max_deliver: 5 });
  await enqueue("long", 1);
  const attempts: number[] = [];
  const started = Date.now();
  const handler = async ({ attempt }: Job) => {
    attempts.push(attempt);
    await until("more than three leases are over", () => Date.now() - started > 3500);
  };
  const ends: JobEnd[] = [];
  const worker = connect().worker("long", handler, { onEnd: (_, end) => ends.push(end) });
  const finished = worker.run();
  await until("it is done", () => ends.length > 0);
  await worker.stop();
  await finished;
  assert.deepEqual([attempts, ends], [[1], ["acked"]]);
});

test("a handler that throws gets its job again, with the error as the reason", async () => {
  await connect().queues.set("retried", { max_deliver: 2, backoff_s: [0] });
  await enqueue("retried", 1);
  const attempts: number[] = [];
  const handler = ({ attempt }: Job) => {
    attempts.push(attempt);
    throw new Error(`attempt ${attempt} broke`);
  };
  const worker = connect().worker("retried", handler);
  const finished = worker.run();
  const letters = () => collect(connect().deadLetters.list({ source: "retried" }));
  await until("it is a dead letter", async () => (await letters()).length === 1);
  await worker.stop();
  await finished;
  assert.deepEqual(attempts, [1, 2]);
  const [letter] = await letters();
  assert.deepEqual(
    letter?.attempts.map(({ error }) => error),
    ["attempt 1 broke", "attempt 2 broke"],
  );
});

test("a permanent error makes the job a dead letter at once", async () => {
  await enqueue("hopeless", 1);
  const ends: JobEnd[] = [];
  const handler = () => {
    throw new PermanentFailure("no such branch");
  };
  const worker = connect().worker("hopeless", handler, { onEnd: (_, end) => ends.push(end) });
  const finished = worker.run();
  await until("it has failed", () => ends.length === 1);
  await worker.stop();
  await finished;
  assert.deepEqual(ends, ["failed"]);
  const [letter] = await collect(connect().deadLetters.list({ source: "hopeless" }));
  assert.match(letter?.reason ?? "", /no such branch/);
});

test("a handler may say when its job is to be tried again", async () => {
  await connect().queues.set("later", { backoff_s: [600] });
  await enqueue("later", 1);
  const attempts: number[] = [];
  const worker = connect().worker("later", ({ attempt }) => {
    attempts.push(attempt);
    if (attempt === 1) throw new RetryLater("busy", { delay_s: 0 });
  });
  const finished = worker.run();
  await until("it is tried again", () => attempts.length === 2);
  await worker.stop();
  await finished;
});

test("a payload that its check refuses is a dead letter, and the handler does not see it", async () => {
  const bus = connect();
  await bus.enqueue("checked", "build", "what?");
  await bus.enqueue("checked", "build", { branch: "main" });
  const seen: string[] = [];
  const payload = (value: unknown): { branch: string } => {
    if (value instanceof Object && "branch" in value) return value as { branch: string };
    throw new Error("branch is missing");
  };
  const worker = bus.worker("checked", (job) => seen.push(job.payload.branch), { payload });
  const finished = worker.run();
  await until("the good one is done", () => seen.length === 1);
  await worker.stop();
  await finished;
  assert.deepEqual(seen, ["main"]);
  const [letter] = await collect(bus.deadLetters.list({ source: "checked" }));
  assert.match(letter?.reason ?? "", /branch is missing/);
});

test("a stop lets running handlers end and takes no further job", async () => {
  await enqueue("stopped", 3);
  const [begun, end] = [gate(), gate()];
  const done: number[] = [];
  const worker = connect().worker("stopped", async ({ attempt }) => {
    begun.open();
    await end.opened;
    done.push(attempt);
  });
  const finished = worker.run();
  await begun.opened;
  const stopped = worker.stop();
  end.open();
  await stopped;
  await finished;
  assert.deepEqual(done, [1]);
  assert.equal((await connect().queues.get("stopped")).waiting, 2);
});

test("a handler that does not end in time is told, and its job goes back to the queue", async () => {
  await enqueue("cut", 1);
  const begun = gate();
  let told = false;
  const handler = (_: Job, { signal }: JobContext) => {
    signal.addEventListener("abort", () => {
      told = true;
    });
    begun.open();
    return new Promise(() => {});
  };
  const ends: JobEnd[] = [];
  const worker = connect().worker("cut", handler, { stopWithin: 100, onEnd: (_, end) => ends.push(end) });
  const finished = worker.run();
  await begun.opened;
  await worker.stop();
  await finished;
  assert.deepEqual([told, ends], [true, ["nacked"]]);
  const [again] = await connect().leases.take("cut", { wait_s: 10, worker: "other" });
  assert.equal(again?.attempt, 2);
});

test("a handler whose lease is lost is told, and its result does not count", async () => {
  const bus = connect();
  await bus.queues.set("stolen", { lease_s: 1, max_deliver: 5 });
  await enqueue("stolen", 1);
  await using proxy = await FaultyProxy.before(server.url);
  const { bus: cut } = quietBus({ url: proxy.url, agent: "worker", attemptTimeout: 300, retryFor: 500 });
  const begun = gate();
  const ends: JobEnd[] = [];
  const handler = async (_: Job, { signal }: JobContext) => {
    begun.open();
    await until("the handler is told", () => signal.aborted);
  };
  const worker = cut.worker("stolen", handler, { onEnd: (_, end) => ends.push(end) });
  const finished = worker.run();
  await begun.opened;
  proxy.mode = "freeze";
  proxy.cut();
  const [stolen] = await bus.leases.take("stolen", { wait_s: 20, worker: "thief" });
  assert.equal(stolen?.attempt, 2);
  proxy.mode = "pass";
  await until("it is lost", () => ends.length === 1);
  assert.deepEqual(ends, ["lost"]);
  await bus.leases.ack(stolen.lease_token);
  await worker.stop();
  await finished;
});

test("a worker goes on through a restart of the server", async () => {
  await using own = await startServer();
  const { bus } = quietBus({ url: own.url, agent: "worker" });
  const done: unknown[] = [];
  const worker = bus.worker("restarted", ({ payload }) => done.push(payload));
  const finished = worker.run();
  await bus.enqueue("restarted", "build", 1);
  await until("the first is done", () => done.includes(1));
  await own.kill();
  await own.start();
  await bus.enqueue("restarted", "build", 2);
  await until("the second is done", () => done.includes(2));
  await worker.stop();
  await finished;
});

test("a worker that is refused says so", async () => {
  const root = quietBus({ url: server.url, key: server.rootKey }).bus;
  const { key } = await root.keys.create({ name: "idle", grants: { as: ["idle"] } });
  const { bus } = quietBus({ url: server.url, key, agent: "idle" });
  await assert.rejects(bus.worker("builds", () => {}).run(), { status: 403, needs: "work builds" });
  const nobody = quietBus({ url: server.url, key: `ab_nobody_${"0".repeat(40)}` }).bus;
  await assert.rejects(nobody.worker("builds", () => {}).run(), UnauthenticatedError);
  await assert.rejects(root.queues.get("no-such-queue"), NotFoundError);
});
