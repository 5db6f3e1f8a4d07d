// Typed content, by functions and by schemas, on send and on receive.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Agentbus, ContentError } from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { z } from "zod";

let server: TestServer;
before(async () => {
  server = await startServer();
});
after(() => server[Symbol.asyncDispose]());

interface Verdict {
  good: boolean;
}

interface Messages {
  verdict: Verdict;
  score: number;
  plan: { steps: string[] };
  note: string;
}

function verdict(value: unknown): Verdict {
  if (value instanceof Object && "good" in value && typeof value.good === "boolean")
    return { good: value.good };
  throw new Error("good must be true or false");
}

const connect = () =>
  new Agentbus<Messages>({
    url: server.url,
    agent: "ann",
    ignoreVersion: true,
    contents: { verdict, score: z.number().max(10), plan: "json" },
  });

/** A client that knows no types. */
const untyped = () => new Agentbus({ url: server.url, agent: "ann", ignoreVersion: true });

test("content has its type on both sides, and is JSON on the wire", async () => {
  const bus = connect();
  await bus.send("verdict", { task: "typed", content: { good: true } });
  await bus.send("score", { task: "typed", content: 7 });
  await bus.send("plan", { task: "typed", content: { steps: ["read", "write"] } });
  await bus.send("note", { task: "typed", content: "as it is" });
  const seen: unknown[] = [];
  for await (const message of bus.stream({ from: "start", task: "typed" })) {
    if (message.kind === "gap") continue;
    // Each comparison compiles only if the type of the message decides that of its content.
    if (message.type === "verdict") seen.push(message.content.good === true);
    else if (message.type === "score") seen.push(message.content + 1);
    else if (message.type === "plan") seen.push(message.content.steps.length);
    else seen.push(message.content.toUpperCase());
    if (message.type === "note") break;
  }
  assert.deepEqual(seen, [true, 8, 2, "AS IT IS"]);
  const wire: string[] = [];
  for await (const message of untyped().history({ task: "typed" })) wire.push(message.content);
  assert.deepEqual(wire, ['{"good":true}', "7", '{"steps":["read","write"]}', "as it is"]);
});

test("content that its type refuses is not sent", async () => {
  const bus = connect();
  await assert.rejects(bus.send("verdict", { task: "unsent", content: { good: "yes" } as never }), {
    name: "ContentError",
    message: "the content of verdict is refused: good must be true or false",
  });
  await assert.rejects(
    bus.send("score", { task: "unsent", content: 11 }),
    /the content of score is refused: Too big/,
  );
  await assert.rejects(bus.sendMany([{ type: "score", task: "unsent", content: 11 }]), ContentError);
  for await (const message of bus.history({ task: "unsent" })) assert.fail(JSON.stringify(message));
});

test("content that its type refuses throws where it is received, and the stream goes on after it", async () => {
  await untyped().send("verdict", { task: "received", content: "not JSON" });
  await untyped().send("score", { task: "received", content: "12" });
  await connect().send("score", { task: "received", content: 3 });
  await using stream = connect().stream({ from: "start", task: "received" });
  await assert.rejects(stream.next(), (error) => {
    assert.ok(error instanceof ContentError);
    assert.equal((error.received as { content: string }).content, "not JSON");
    return true;
  });
  await assert.rejects(stream.next(), /the content of score is refused/);
  const { value } = await stream.next();
  assert.ok(value !== undefined && value.kind !== "gap");
  assert.equal(value.content, 3);
});

test("an inbox goes on after a message that its type refuses", async () => {
  await untyped().send("score", { to: "ben", content: "12" });
  await connect().send("score", { to: "ben", content: 3 });
  await using inbox = connect().inbox("ben");
  await assert.rejects(inbox.next(), ContentError);
  assert.equal((await inbox.next()).value?.content, 3);
});

test("what is no string needs a content type", async () => {
  await assert.rejects(untyped().send("plan", { content: { steps: [] } as never }), ContentError);
  // @ts-expect-error: plan, score and verdict have no content type.
  new Agentbus<Messages>({ url: server.url, contents: {} });
  // @ts-expect-error: content is required where it is no string.
  await assert.rejects(connect().send("plan"), ContentError);
});
