// The parser of events and the cursor, without a server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Cursor } from "../dist/cursor.js";
import { type SseEvent, SseParser } from "../dist/sse.js";
import { uuidV7 } from "../dist/uuid.js";

const STREAM = [
  "retry: 2000\n\n: a comment\n\n",
  'id: 4\r\nevent: ready\r\ndata: {"head":9}\r\n\r\n',
  "id: 5\revent: task\rdata: ünë\rdata:two\r\r",
  "data\nid: with\0nul\nretry: soon\nunknown: field\n\n",
  "id: 6\nevent: heartbeat\n\n",
  "id: 7\nevent: task\ndata: unfinished",
].join("");

const EVENTS: SseEvent[] = [
  { name: "message", data: undefined, id: undefined, retry: 2000 },
  { name: "ready", data: '{"head":9}', id: "4", retry: undefined },
  { name: "task", data: "ünë\ntwo", id: "5", retry: undefined },
  { name: "message", data: "", id: undefined, retry: undefined },
  { name: "heartbeat", data: undefined, id: "6", retry: undefined },
];

test("events are the same however the stream is cut into chunks", () => {
  const bytes = new TextEncoder().encode(STREAM);
  for (let size = 1; size <= bytes.length; size++) {
    const parser = new SseParser();
    const events: SseEvent[] = [];
    for (let at = 0; at < bytes.length; at += size)
      events.push(...parser.push(bytes.subarray(at, at + size)));
    assert.deepEqual(events, EVENTS, `in chunks of ${size}`);
  }
});

test("an event without an end does not fill the memory", () => {
  const parser = new SseParser();
  const chunk = new TextEncoder().encode(`data: ${"x".repeat(1_000_000)}\n`);
  assert.throws(() => {
    for (let i = 0; i < 20; i++) parser.push(chunk);
  }, /longer than/);
});

test("a cursor moves forward, and passes each sequence once", () => {
  const cursor = new Cursor({ from: "start" });
  assert.deepEqual(cursor.request(), { query: { from: "start" }, headers: {} });
  cursor.ready(4);
  assert.deepEqual(
    [4, 6, 5, 6, 7].map((id) => cursor.pass(id)),
    [false, true, false, false, true],
  );
  assert.deepEqual(cursor.request(), { query: {}, headers: { "last-event-id": "7" } });
});

test("a stream that waits for a sequence beyond the log keeps asking for it", () => {
  const cursor = new Cursor({ from: 100 });
  cursor.ready(99);
  assert.deepEqual(cursor.request().query, { from: "100" });
  assert.equal(cursor.pass(100), true);
  assert.equal(cursor.after, 100);
});

test("a cursor of another deployment falls back to the end of this log", () => {
  const cursor = new Cursor({ since: 500 });
  cursor.ready(7);
  assert.equal(cursor.after, 7);
  assert.equal(cursor.pass(8), true);
});

test("a stream begins from one place", () => {
  assert.throws(() => new Cursor({ from: 1, since: 1 }), TypeError);
});

test("ids are UUIDs of version 7 that begin with the time", () => {
  const before = Date.now();
  const id = uuidV7();
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const time = Number.parseInt(id.replace("-", "").slice(0, 12), 16);
  assert.ok(before <= time && time <= Date.now());
  assert.notEqual(id, uuidV7());
});
