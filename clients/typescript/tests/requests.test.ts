// Requests against the real server: what is repeated, what is not, and what is thrown.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  Agentbus,
  ApiError,
  ConflictError,
  ConnectionError,
  ForbiddenError,
  InvalidError,
  NotFoundError,
  UnauthenticatedError,
  UnavailableError,
} from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { collect, quietBus } from "./support/bus.js";
import { FaultyProxy, type Mode } from "./support/faulty_proxy.js";
import { until } from "./support/wait.js";

let server: TestServer;
before(async () => {
  server = await startServer({ auth: "required" });
});
after(() => server[Symbol.asyncDispose]());

/** A client with every grant, directly or by a proxy. */
const root = (settings = {}) => quietBus({ url: server.url, key: server.rootKey, ...settings }).bus;

for (const mode of ["swallow", "502", "503"] as const satisfies Mode[]) {
  test(`a message that is sent again after "${mode}" is one message`, async () => {
    await using proxy = await FaultyProxy.before(server.url);
    proxy.mode = mode;
    const sent = root({ url: proxy.url }).send("note", { task: mode, content: "once" });
    await until("a repeat", () => proxy.accepted >= 2);
    proxy.mode = "pass";
    const { seq, duplicate } = await sent;
    assert.equal(duplicate, mode === "swallow");
    const kept = await collect(root().history({ task: mode }));
    assert.deepEqual(
      kept.map((message) => message.seq),
      [seq],
    );
  });
}

test("a batch whose answer was lost is no second batch", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  proxy.mode = "swallow";
  const items = Array.from({ length: 1500 }, (_, i) => ({ type: "note", task: "batch", content: String(i) }));
  const sent = root({ url: proxy.url }).sendMany(items);
  await until("a repeat", () => proxy.accepted >= 2);
  proxy.mode = "pass";
  assert.equal((await sent).length, 1500);
  const kept = await collect(root().history({ task: "batch", limit: 1000 }));
  assert.deepEqual(
    kept.map((message) => message.content),
    items.map((item) => item.content),
  );
});

test("a job that is enqueued again after a lost answer is one job", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  proxy.mode = "swallow";
  const enqueued = root({ url: proxy.url }).enqueue("lost", "build", {});
  await until("a repeat", () => proxy.accepted >= 2);
  proxy.mode = "pass";
  await enqueued;
  assert.equal((await root().queues.get("lost")).waiting, 1);
});

test("an ack whose answer was lost is done, and one of a lost lease is not", async () => {
  await root().enqueue("acks", "build", {});
  const [job] = await root().leases.take("acks", { worker: "w" });
  assert.ok(job);
  await using proxy = await FaultyProxy.before(server.url);
  proxy.mode = "swallow";
  const acked = root({ url: proxy.url }).leases.ack(job.lease_token);
  await until("a repeat", () => proxy.accepted >= 2);
  proxy.mode = "pass";
  await acked;
  await assert.rejects(root().leases.ack(job.lease_token), { status: 410, code: "lease_lost" });
});

test("what is not safe to repeat is tried once", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  proxy.mode = "502";
  await assert.rejects(
    root({ url: proxy.url }).keys.create({ name: "once", grants: {} }),
    (error) => error instanceof UnavailableError && error.status === 502,
  );
  assert.equal(proxy.accepted, 1);
});

test("repeats end with the time for them", async () => {
  const started = Date.now();
  const gone = quietBus({ url: "http://127.0.0.1:9", retryFor: 1000 }).bus;
  await assert.rejects(gone.send("note"), (error) => {
    assert.ok(error instanceof ConnectionError);
    assert.match(error.message, /cannot reach http:\/\/127\.0\.0\.1:9/);
    return true;
  });
  assert.ok(Date.now() - started < 3000);
});

test("an attempt that gets no answer is given up and repeated", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  proxy.mode = "freeze";
  const me = root({ url: proxy.url, attemptTimeout: 300 }).me();
  await until("a repeat", () => proxy.accepted >= 2);
  proxy.mode = "pass";
  assert.equal((await me).id, "root");
});

test("an abort ends a request that is repeated, with the signal's reason", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  proxy.mode = "502";
  const controller = new AbortController();
  const sent = root({ url: proxy.url }).send("note", {}, { signal: controller.signal });
  await Promise.all([
    assert.rejects(sent, { name: "AbortError" }),
    until("a repeat", () => proxy.accepted >= 2).then(() => controller.abort()),
  ]);
});

test("a client that is closed ends its calls", async () => {
  const bus = root();
  const waiting = bus.inboxPage("nobody", { wait_s: 30 });
  bus.close();
  await assert.rejects(waiting, { name: "AbortError" });
});

test("errors have the class of their code", async () => {
  const bus = root();
  const { id, key } = await bus.keys.create({
    name: "ann",
    grants: { as: ["ann"], publish: ["agent.message.>"] },
  });
  const ann = quietBus({ url: server.url, key }).bus;
  const conflicting = { id: crypto.randomUUID(), content: "one" };
  await ann.send("note", conflicting);
  const cases: [() => Promise<unknown>, typeof ApiError, Record<string, unknown>][] = [
    [
      () => quietBus({ url: server.url }).bus.me(),
      UnauthenticatedError,
      { status: 401, code: "unauthenticated" },
    ],
    [
      () => ann.send("done", { kind: "task", task: "t1" }),
      ForbiddenError,
      { needs: "publish agent.task.t1.done" },
    ],
    [() => ann.send("note", { sender: "bob" }), ForbiddenError, { needs: "as bob" }],
    [() => bus.message(crypto.randomUUID()), NotFoundError, { status: 404, code: "not_found" }],
    [
      () => ann.send("note", { ...conflicting, content: "two" }),
      ConflictError,
      { code: "idempotency_conflict", id: conflicting.id },
    ],
    [() => ann.send("not a token"), InvalidError, { code: "invalid_message", name: "InvalidError" }],
    [() => bus.send("note", { content: "x".repeat(2_000_000) }), ApiError, { status: 413, name: "ApiError" }],
  ];
  for (const [call, ErrorClass, members] of cases) {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof ErrorClass, String(error));
      for (const [name, value] of Object.entries(members)) {
        assert.equal((error as unknown as Record<string, unknown>)[name], value, String(error));
      }
      assert.match(error.request_id ?? "", /^[0-9a-f-]{36}$/);
      return true;
    });
  }
  await bus.keys.revoke(id);
  await assert.rejects(ann.send("note"), UnauthenticatedError);
});

test("an error says what is wrong in one line", async () => {
  await assert.rejects(root().send("not a token"), {
    message: /^422 invalid_message: .*; \/type: must be 1 to 64 characters of A-Z a-z 0-9 _ -$/,
  });
});

test("another major version is warned of once, and a status that may not be seen is no fault", async () => {
  const answers: string[] = [];
  const newer: typeof fetch = async (url, init) => {
    if (!String(url).endsWith("/v1/status")) return fetch(url, init);
    answers.push(String(url));
    return Response.json({ version: "7.1.0" });
  };
  const { bus, logged } = quietBus({
    url: server.url,
    key: server.rootKey,
    ignoreVersion: false,
    fetch: newer,
  });
  await bus.me();
  await bus.me();
  await until("the warning", () => logged.length > 0);
  assert.equal(answers.length, 1);
  assert.match(logged.join(), /this client has version 0\.\d+\.\d+, the server 7\.1\.0/);
});

test("address and key come from the settings, else from the environment", async () => {
  const requests: [url: string, authorization: string | null][] = [];
  const observed: typeof fetch = async (url, init) => {
    requests.push([String(url), new Headers(init?.headers).get("authorization")]);
    return Response.json({});
  };
  const before = { ...process.env };
  try {
    delete process.env.AGENTBUS_URL;
    await new Agentbus({ fetch: observed, ignoreVersion: true }).me();
    Object.assign(process.env, { AGENTBUS_URL: "https://bus.example/under/", AGENTBUS_KEY: "ab_env_key" });
    await new Agentbus({ fetch: observed, ignoreVersion: true }).me();
    await new Agentbus({
      fetch: observed,
      ignoreVersion: true,
      url: "http://other:1",
      key: "ab_own_key",
    }).me();
    await new Agentbus({ fetch: observed, ignoreVersion: true, key: "" }).me();
  } finally {
    process.env = before;
  }
  assert.deepEqual(requests, [
    ["http://127.0.0.1:8080/v1/me", null],
    ["https://bus.example/under/v1/me", "Bearer ab_env_key"],
    ["http://other:1/v1/me", "Bearer ab_own_key"],
    ["https://bus.example/under/v1/me", null],
  ]);
  assert.throws(() => new Agentbus({ url: "bus.example" }), /must begin with http:/);
});

test("each request names the client and its version", async () => {
  const agents: (string | null)[] = [];
  const observed: typeof fetch = (url, init) => {
    agents.push(new Headers(init?.headers).get("user-agent"));
    return fetch(url, init);
  };
  await root({ fetch: observed }).me();
  assert.deepEqual(agents, ["agentbus-typescript/0.2.0"]);
});
