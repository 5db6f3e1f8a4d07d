// Schemas that the server checks, against the real server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidError, NotFoundError } from "agentbus";
import { startServer } from "agentbus/testing";
import { quietBus } from "./support/bus.js";

const GOOD = { properties: { content: { properties: { good: { type: "boolean" } }, required: ["good"] } } };

test("a schema is put, checked, enforced and deleted", async () => {
  await using server = await startServer();
  const { bus } = quietBus({ url: server.url });
  const bad = '{"good":"perhaps"}';
  await bus.send("verdict", { content: bad }, { ack: "committed" });
  const schema = { schema: GOOD, content: "json" } as const;
  assert.equal(await bus.schemas.check("message", "verdict", schema), 1);
  await assert.rejects(bus.schemas.get("message", "verdict"), NotFoundError);

  const made = await bus.schemas.put("message", "verdict", { ...schema, mode: "warn" });
  assert.deepEqual([made.version, made.mode, made.content], [1, "warn", "json"]);
  assert.equal((await bus.send("verdict", { content: bad })).warnings?.[0]?.code, "schema_violation");

  await bus.schemas.put("message", "verdict", { ...schema, mode: "enforce" });
  await assert.rejects(bus.send("verdict", { content: bad }), (error) => {
    assert.ok(error instanceof InvalidError);
    assert.deepEqual([error.code, error.errors[0]?.pointer], ["schema_violation", "/content/good"]);
    return true;
  });
  await bus.send("verdict", { content: '{"good":true}' });
  const versions = await bus.schemas.versions("message", "verdict");
  assert.deepEqual(
    versions.map(({ version }) => version),
    [2, 1],
  );
  assert.deepEqual((await bus.schemas.get("message", "verdict")).schema, GOOD);
  assert.equal((await bus.schemas.list()).length, 1);
  await bus.schemas.delete("message", "verdict");
  await bus.send("verdict", { content: bad });
});
