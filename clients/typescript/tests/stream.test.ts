// Streams against the real server: each message once and in order, whatever happens to the connection.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gap, InvalidError, UnauthenticatedError } from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { notes, numbered, quietBus, take } from "./support/bus.js";
import { FaultyProxy } from "./support/faulty_proxy.js";
import { until } from "./support/wait.js";

let server: TestServer;
before(async () => {
  server = await startServer({ auth: "off", rootKey: `ab_root_${"0".repeat(40)}` });
});
after(() => server[Symbol.asyncDispose]());

test("a stream goes on through kill -9 and restarts without a loss or repeat", async () => {
  await using own = await startServer();
  const { bus } = quietBus({ url: own.url });
  await using stream = bus.stream({ from: "start", sender: "ann" });
  for (let round = 0; round < 4; round++) {
    const contents = numbered(round * 50, 50);
    await bus.sendMany(notes(contents));
    assert.deepEqual(await take(stream, 50), contents);
    await (round % 2 ? own.stop() : own.kill());
    await own.start();
  }
});

test("a stream goes on through 502, 503 and cut connections of a proxy", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  const direct = quietBus({ url: server.url }).bus;
  const { bus, logged } = quietBus({ url: proxy.url });
  await using stream = bus.stream({ from: "start", task: "proxied" });
  await direct.send("note", { task: "proxied", content: "first" });
  assert.deepEqual(await take(stream, 1), ["first"]);
  for (const mode of ["502", "503", "pass"] as const) {
    const { accepted } = proxy;
    proxy.mode = mode;
    proxy.cut();
    await direct.send("note", { task: "proxied", content: mode });
    const next = take(stream, 1);
    await until("the client has come back", () => proxy.accepted > accepted);
    proxy.mode = "pass";
    assert.deepEqual(await next, [mode]);
  }
  const interruptions = logged.filter((text) => text.includes("will resume"));
  assert.equal(interruptions.length, 3, "one warning for each interruption, not for each attempt");
});

test("a half-open connection is given up and the stream goes on", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  const direct = quietBus({ url: server.url }).bus;
  const { bus, logged } = quietBus({ url: proxy.url, streamSilence: 500 });
  await using stream = bus.stream({ from: "start", task: "frozen" });
  await direct.send("note", { task: "frozen", content: "before" });
  assert.deepEqual(await take(stream, 1), ["before"]);
  proxy.mode = "freeze";
  await direct.send("note", { task: "frozen", content: "after" });
  const next = take(stream, 1);
  await until("the silence is noticed", () =>
    logged.some((text) => text.includes("nothing came for 500 ms")),
  );
  proxy.mode = "pass";
  assert.deepEqual(await next, ["after"]);
});

test("a stream of a server that starts or stops waits and goes on", async () => {
  // The block that a server which cannot serve yet sends instead of 503.
  const unavailable = new Response("retry: 20\nevent: unavailable\n\n", {
    headers: { "content-type": "text/event-stream" },
  });
  const answers = [unavailable];
  const { bus } = quietBus({ url: server.url, fetch: async (...args) => answers.pop() ?? fetch(...args) });
  await bus.send("note", { task: "starting", content: "here" });
  await using stream = bus.stream({ from: "start", task: "starting" });
  assert.deepEqual(await take(stream, 1), ["here"]);
});

test("a slow consumer holds no more than a little in memory, and loses nothing", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  const { bus } = quietBus({ url: server.url });
  const contents = numbered(0, 200).map((number) => `${number} ${"x".repeat(100_000)}`);
  await bus.sendMany(contents.map((content) => ({ type: "note", task: "slow", content })));
  await using stream = quietBus({ url: proxy.url }).bus.stream({ from: "start", task: "slow" });
  assert.deepEqual(await take(stream, 1), contents.slice(0, 1));
  // Nothing is read while the consumer does not ask: buffers of sockets fill, and then no byte comes.
  let seen = -1;
  await until("the server sends no more", async () => {
    const before = proxy.received;
    await new Promise((resolve) => setTimeout(resolve, 300));
    seen = proxy.received;
    return before === seen;
  });
  assert.ok(seen < 10_000_000, `${seen} bytes of 20 MB were read for a consumer that asked for 100 kB`);
  assert.deepEqual(await take(stream, 199), contents.slice(1));
});

test("gaps are items of their own, and the stream goes on after them", async () => {
  const { bus } = quietBus({ url: server.url });
  const { seq } = await bus.send("note", { content: "last" });
  await using stream = bus.stream({ since: seq + 1000, task: "after-gap" });
  const { value } = await stream.next();
  assert.ok(value instanceof Gap);
  assert.equal(value.reason, "ahead_of_log");
  assert.equal(value.to, seq + 1000);
  await bus.send("note", { task: "after-gap", content: "live" });
  assert.deepEqual(await take(stream, 1), ["live"]);
});

test("a stream resumes after its cursor", async () => {
  const { bus } = quietBus({ url: server.url });
  const contents = numbered(0, 10);
  await bus.sendMany(contents.map((content) => ({ type: "note", task: "cursor", content })));
  const first = bus.stream({ from: "start", task: "cursor" });
  assert.equal(first.cursor, undefined);
  assert.deepEqual(await take(first, 4), contents.slice(0, 4));
  await first.return();
  await using second = bus.stream({ since: first.cursor, task: "cursor" });
  assert.deepEqual(await take(second, 6), contents.slice(4));
});

test("the consumer hears when it has caught up", async () => {
  const { bus } = quietBus({ url: server.url });
  await bus.send("note", { task: "catching-up", content: "old" });
  let caughtUp = 0;
  const onCaughtUp = () => {
    caughtUp += 1;
  };
  await using stream = bus.stream({ from: "start", task: "catching-up" }, { onCaughtUp });
  assert.deepEqual(await take(stream, 1), ["old"]);
  const next = stream.next();
  await until("it is told", () => caughtUp === 1);
  await bus.send("note", { task: "catching-up", content: "new" });
  assert.equal(((await next).value as { content: string }).content, "new");
});

test("what the server refuses for good ends the stream with its error", async () => {
  const { bus } = quietBus({ url: server.url });
  await assert.rejects(bus.stream({ subject: "not a subject" }).next(), (error) => {
    assert.ok(error instanceof InvalidError);
    assert.equal(error.errors[0]?.parameter, "subject");
    return true;
  });
  const badKey = quietBus({ url: server.url, key: `ab_nobody_${"0".repeat(40)}` }).bus;
  await assert.rejects(badKey.stream().next(), UnauthenticatedError);
});

test("a key that is revoked ends its stream", async () => {
  const root = quietBus({ url: server.url, key: server.rootKey }).bus;
  const { id, key } = await root.keys.create({ name: "watcher", grants: { read: ["agent.>"] } });
  let live = false;
  const onCaughtUp = () => {
    live = true;
  };
  await using stream = quietBus({ url: server.url, key }).bus.stream({}, { onCaughtUp });
  const next = stream.next();
  await Promise.all([
    assert.rejects(next, (error) => error instanceof UnauthenticatedError && error.code === "revoked"),
    until("the stream is open", () => live).then(() => root.keys.revoke(id)),
  ]);
});

test("an abort ends a stream that waits, with the signal's reason", async () => {
  const { bus } = quietBus({ url: server.url });
  const controller = new AbortController();
  const reason = new Error("enough");
  let live = false;
  const onCaughtUp = () => {
    live = true;
  };
  const next = bus.stream({}, { signal: controller.signal, onCaughtUp }).next();
  await Promise.all([
    assert.rejects(next, reason),
    until("the stream is open", () => live).then(() => controller.abort(reason)),
  ]);
});

test("a stream that is closed while it waits simply ends", async () => {
  const { bus } = quietBus({ url: server.url });
  const stream = bus.stream();
  const next = stream.next();
  await stream.return();
  assert.deepEqual(await next, { done: true, value: undefined });
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});
