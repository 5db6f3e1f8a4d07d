// The trace context goes along with requests.

import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import { type Context, context, propagation, ROOT_CONTEXT } from "@opentelemetry/api";
import { Agentbus } from "agentbus";

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
    extract: (given) => given,
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

test("a propagator of one's own is used instead", async () => {
  const { traceparents, fetch } = observed();
  const propagate = (headers: Record<string, string>) => {
    headers.traceparent = TRACEPARENT;
  };
  await new Agentbus({ fetch, ignoreVersion: true, propagate }).me();
  assert.deepEqual(traceparents, [TRACEPARENT]);
});
