// The trace context goes along with requests.

import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import { type Context, context, propagation, ROOT_CONTEXT } from "@opentelemetry/api";
import { Agentbus, type Worker } from "agentbus";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const KEY = Symbol("traceparent");

/** The header of each request that the client would make. */
function observed(): { traceparents: (string | null)[]; fetch: typeof fetch } {
  const traceparents: (string | null)[] = [];
  const observe: typeof fetch = async (_, init) => {
    traceparents.push(new Headers(init?.headers).get("traceparent"));
    return Response.json({});
  };
  return { traceparents, fetch: observe };
}

function installOpenTelemetry(): void {
  const active = new AsyncLocalStorage<Context>();
  context.setGlobalContextManager({
    active: () => active.getStore() ?? ROOT_CONTEXT,
    with: (given, run, thisArg, ...args) => active.run(given, () => run.call(thisArg as never, ...args)),
    bind: (_, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  });
  propagation.setGlobalPropagator({
    inject: (given, carrier, setter) => {
      const value = given.getValue(KEY);
      if (value !== undefined) setter.set(carrier, "traceparent", String(value));
    },
    extract: (given, carrier, getter) => given.setValue(KEY, getter.get(carrier, "traceparent")),
    fields: () => ["traceparent"],
  });
}

test("the current context of OpenTelemetry goes along, where that is installed", async () => {
  installOpenTelemetry();
  const { traceparents, fetch } = observed();
  const bus = new Agentbus({ fetch, ignoreVersion: true });
  await bus.me();
  await context.with(ROOT_CONTEXT.setValue(KEY, TRACEPARENT), () => bus.me());
  assert.deepEqual(traceparents, [null, TRACEPARENT]);
});

test("a handler runs in the trace of who enqueued its job", async () => {
  installOpenTelemetry();
  const seen: unknown[] = [];
  let worker: Worker | undefined;
  const job = { job_id: "1", type: "t", payload: 7, attempt: 1, lease_token: "l" };
  const times = { enqueued_at: "2026-01-01T00:00:00Z", lease_expires_at: "2126-01-01T00:00:00Z" };
  const leased = { jobs: [{ ...job, ...times, priority: "normal", traceparent: TRACEPARENT }] };
  const answer: typeof fetch = async (input) =>
    Response.json(String(input).endsWith("/lease") && seen.length === 0 ? leased : {});
  worker = new Agentbus({ fetch: answer, ignoreVersion: true }).worker("q", () => {
    seen.push(context.active().getValue(KEY));
    void worker?.stop();
  });
  await worker.run();
  assert.deepEqual(seen, [TRACEPARENT]);
});

test("a propagator of one's own is used instead", async () => {
  const { traceparents, fetch } = observed();
  const propagate = (headers: Record<string, string>) => {
    headers.traceparent = TRACEPARENT;
  };
  await new Agentbus({ fetch, ignoreVersion: true, propagate }).me();
  assert.deepEqual(traceparents, [TRACEPARENT]);
});
