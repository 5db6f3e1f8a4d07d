// The built package in Chromium, by a page of another origin that `CORS_ORIGINS` names.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Agentbus, Message, MessageStream } from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { quietBus } from "./support/bus.js";
import { WebPage } from "./support/web_page.js";

// What the page's scripts share.
declare global {
  var agentbus: typeof import("agentbus");
  var bus: Agentbus;
  var stream: MessageStream<Message>;
}

let web: WebPage;
let server: TestServer;

before(async () => {
  web = await WebPage.open();
  server = await startServer({ auth: "required", env: { CORS_ORIGINS: web.origin } });
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

const settings = () => ({ url: server.url, key: server.rootKey, agent: "page", ignoreVersion: true });

test("a page sends, and reads what it sent", async () => {
  const contents = await web.page.evaluate(async (settings) => {
    const bus = new globalThis.agentbus.Agentbus(settings);
    await bus.send("note", { task: "page", content: "from a page" });
    await bus.sendMany([{ type: "note", task: "page", content: "and more" }]);
    const contents: string[] = [];
    for await (const message of bus.history({ task: "page" })) contents.push(message.content);
    return contents;
  }, settings());
  assert.deepEqual(contents, ["from a page", "and more"]);
});

test("a stream in a page goes on through kills and restarts without a loss or repeat", async () => {
  const { bus } = quietBus(settings());
  await web.page.evaluate((settings) => {
    globalThis.bus = new globalThis.agentbus.Agentbus(settings);
    globalThis.stream = globalThis.bus.stream({ from: "start", task: "page-stream" });
  }, settings());
  const expected: string[] = [];
  const seen: string[] = [];
  for (let round = 0; round < 3; round++) {
    const contents = Array.from({ length: 20 }, (_, i) => `${round}:${i}`);
    await bus.sendMany(contents.map((content) => ({ type: "note", task: "page-stream", content })));
    expected.push(...contents);
    const more = await web.page.evaluate(async () => {
      const contents: string[] = [];
      while (contents.length < 20) {
        const { value } = await globalThis.stream.next();
        contents.push(value?.kind === "gap" ? "gap" : String(value?.content));
      }
      return contents;
    });
    seen.push(...more);
    await (round % 2 ? server.stop() : server.kill());
    await server.start();
  }
  await web.page.evaluate(() => globalThis.stream.return());
  assert.deepEqual(seen, expected);
});

test("a page gets typed errors", async () => {
  const errors = await web.page.evaluate(async (settings) => {
    const { Agentbus, InvalidError, UnauthenticatedError, ConnectionError } = globalThis.agentbus;
    const caught = (call: Promise<unknown>) =>
      call.then(
        () => undefined,
        (error: unknown) => error,
      );
    const invalid = await caught(new Agentbus(settings).send("not a token"));
    const denied = await caught(new Agentbus({ ...settings, key: "" }).stream().next());
    const unreachable = await caught(
      new Agentbus({ url: "http://127.0.0.1:9", retryFor: 0, logger: false }).me(),
    );
    return [
      invalid instanceof InvalidError && invalid.errors[0]?.pointer,
      denied instanceof UnauthenticatedError && denied.code,
      unreachable instanceof ConnectionError,
    ];
  }, settings());
  assert.deepEqual(errors, ["/type", "unauthenticated", true]);
});

test("a page that has a cookie needs no key", async () => {
  const names = await web.page.evaluate(async (settings) => {
    const { Agentbus } = globalThis.agentbus;
    await new Agentbus({ ...settings, credentials: "include" }).createSession();
    const withCookie = new Agentbus({ ...settings, key: undefined, credentials: "include" });
    const me = await withCookie.me();
    await withCookie.send("note", { content: "by cookie" });
    await withCookie.endSession();
    const after = await withCookie.me().catch((error: Error) => error.name);
    return [me.id, after];
  }, settings());
  assert.deepEqual(names, ["root", "UnauthenticatedError"]);
});

test("a worker and an inbox run in a page", async () => {
  const done = await web.page.evaluate(async (settings) => {
    const bus = new globalThis.agentbus.Agentbus(settings);
    await bus.enqueue("page", "render", { page: 1 });
    const payloads: unknown[] = [];
    const worker = bus.worker("page", ({ payload }) => {
      payloads.push(payload);
      void worker.stop();
    });
    await worker.run();
    await bus.send("note", { to: "page", content: "hello" });
    const { value } = await bus.inbox().next();
    return [payloads, value?.content, (await bus.queues.get("page")).leased];
  }, settings());
  assert.deepEqual(done, [[{ page: 1 }], "hello", 0]);
});

test("the page of the README shows what comes", async () => {
  const { bus } = quietBus(settings());
  await web.page.evaluate(async (settings) => {
    await new globalThis.agentbus.Agentbus({ ...settings, credentials: "include" }).createSession();
  }, settings());
  await web.page.goto(`${web.origin}/readme?bus=${encodeURIComponent(server.url)}`);
  await web.page.waitForSelector("li");
  await bus.send("note", { content: "live on the page" });
  await web.page.getByText("page: live on the page").waitFor({ timeout: 20_000 });
});
