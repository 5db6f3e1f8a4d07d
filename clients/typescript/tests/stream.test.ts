// Streams against the real server: each message once and in order, whatever happens to the connection.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Agentbus, type Gap, type Message, type MessageStream } from "agentbus";
import { startServer } from "agentbus/testing";

/** The contents of the next `count` messages. */
async function take(stream: MessageStream<Message>, count: number): Promise<string[]> {
  const contents: string[] = [];
  while (contents.length < count) {
    const { value } = await stream.next();
    assert.ok(
      value !== undefined && value.kind !== "gap",
      `a message and not ${JSON.stringify(value as Gap)}`,
    );
    contents.push(value.content);
  }
  return contents;
}

const numbered = (from: number, count: number) => Array.from({ length: count }, (_, i) => String(from + i));

test("a stream goes on through kill -9 and restarts without a loss or repeat", async () => {
  await using server = await startServer();
  const bus = new Agentbus({ url: server.url, sender: "ann", logger: false });
  await using stream = bus.stream({ from: "start", sender: "ann" });
  for (let round = 0; round < 4; round++) {
    const contents = numbered(round * 50, 50);
    await bus.sendMany(contents.map((content) => ({ type: "note", content })));
    assert.deepEqual(await take(stream, 50), contents);
    await (round % 2 ? server.stop() : server.kill());
    await server.start();
  }
});
