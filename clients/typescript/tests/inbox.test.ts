// Inboxes, questions and answers against the real server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { NoReplyError } from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { quietBus } from "./support/bus.js";
import { FaultyProxy } from "./support/faulty_proxy.js";
import { until } from "./support/wait.js";

let server: TestServer;
before(async () => {
  server = await startServer();
});
after(() => server[Symbol.asyncDispose]());

const connect = (agent: string, url = server.url) => quietBus({ url, agent }).bus;

test("a message is acknowledged when the loop asks for the next one, and not before", async () => {
  const ann = connect("ann");
  for (const content of ["one", "two", "three"]) await ann.send("note", { to: "ben", content });
  const ben = connect("ben");
  const consumed = async () => (await ben.inboxPage("ben")).messages.map((message) => message.content);
  const seen: string[] = [];
  for await (const message of ben.inbox("ben")) {
    seen.push(message.content);
    assert.deepEqual((await consumed())[0], message.content);
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, ["one", "two"]);
  // The loop was left in the middle of the second one.
  assert.deepEqual(await consumed(), ["two", "three"]);
});

test("without acknowledgements of the loop, only ack counts", async () => {
  const cid = connect("cid");
  for (const content of ["one", "two", "three"]) await connect("ann").send("note", { to: "cid", content });
  await using inbox = cid.inbox("cid", {}, { ack: "none" });
  await inbox.next();
  const second = (await inbox.next()).value;
  assert.ok(second);
  await inbox.next();
  assert.equal((await cid.inboxPage("cid")).messages.length, 3);
  assert.equal((await inbox.ack(second)).waiting, 1);
});

test("an inbox goes on through a restart and a proxy's 502", async () => {
  await using own = await startServer();
  await using proxy = await FaultyProxy.before(own.url);
  const ann = connect("ann", own.url);
  await using inbox = connect("dan", proxy.url).inbox("dan");
  const contents: unknown[] = [];
  for (const [i, disturb] of [
    () => {},
    () => own.restart(),
    () => {
      proxy.mode = "502";
      proxy.cut();
    },
  ].entries()) {
    await disturb();
    const next = inbox.next();
    const { accepted } = proxy;
    if (proxy.mode === "502") await until("an attempt", () => proxy.accepted > accepted);
    proxy.mode = "pass";
    await ann.send("note", { to: "dan", content: String(i) });
    contents.push((await next).value?.content);
  }
  assert.deepEqual(contents, ["0", "1", "2"]);
});

test("broadcasts come when they are asked for", async () => {
  const eva = connect("eva");
  await connect("ann").send("note", { content: "to all", conversation: "broadcasts" });
  for await (const message of eva.inbox("eva", { broadcast: true })) {
    if (message.conversation_id !== "broadcasts") continue;
    assert.equal(message.recipient_id, undefined);
    break;
  }
});

test("a question gets its answer", async () => {
  const [ann, flo] = [connect("ann"), connect("flo")];
  const asked = ann.ask("question", { to: "flo", task: "t1", content: "ready?", reply_within: 20 });
  const { value: question } = await flo.inbox("flo").next();
  assert.ok(question);
  await flo.answer(question, { content: "ready" });
  const reply = await asked;
  assert.deepEqual(
    [reply.content, reply.type, reply.in_reply_to, reply.recipient_id, reply.task_id],
    ["ready", "answer", question.id, "ann", "t1"],
  );
});

test("a question that nobody answers throws, and stays in the log", async () => {
  const ann = connect("ann");
  await assert.rejects(ann.ask("question", { to: "nobody", reply_within: 1 }), (error) => {
    assert.ok(error instanceof NoReplyError);
    assert.match(error.id, /^[0-9a-f-]{36}$/);
    return true;
  });
  assert.equal((await ann.inboxPage("nobody")).messages.length, 1);
});

test("a question is asked on under its id after its connection was lost", async () => {
  await using proxy = await FaultyProxy.before(server.url);
  const [ann, gus] = [connect("ann", proxy.url), connect("gus")];
  const asked = ann.ask("question", { to: "gus", content: "still there?", reply_within: 20 });
  const { value: question } = await gus.inbox("gus").next();
  assert.ok(question);
  proxy.cut();
  await gus.answer(question, { content: "yes" });
  assert.equal((await asked).content, "yes");
  assert.equal((await gus.inboxPage("gus")).messages.length, 1, "one question");
});
