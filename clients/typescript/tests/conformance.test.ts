// The cases that every client passes (clients/conformance), by this one.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Agentbus, AgentbusError } from "agentbus";
import { startServer, type TestServer } from "agentbus/testing";
import { CALLS } from "./conformance/calls.js";
import { described } from "./conformance/errors.js";
import { expand, mismatch, type Names } from "./conformance/pattern.js";

interface Step {
  call?: string;
  args?: unknown;
  expect?: unknown;
  error?: unknown;
  eventually?: boolean;
  key?: string;
  background?: string;
  join?: string;
}

interface Section {
  title: string;
  cases: { name: string; steps: Step[] }[];
}

type Outcome = { result: unknown } | { error: AgentbusError };

const FOLDER = join(import.meta.dirname, "../../conformance");
const EVENTUALLY_MS = 20_000;

/** The server of the run: the one that the environment names, else an own one. */
let url = process.env.AGENTBUS_URL;
const rootKey = process.env.AGENTBUS_ROOT_KEY ?? `ab_root_${"0".repeat(40)}`;
let own: TestServer | undefined;

before(async () => {
  if (url !== undefined) return;
  own = await startServer({ rootKey });
  url = own.url;
});
after(() => own?.[Symbol.asyncDispose]());

for (const file of readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .sort()) {
  const { title, cases }: Section = JSON.parse(readFileSync(join(FOLDER, file), "utf8"));
  for (const { name, steps } of cases) {
    test(`${title}: ${name}`, { timeout: 60_000 }, () => runCase(steps));
  }
}

async function runCase(steps: Step[]): Promise<void> {
  const names: Names = new Map<string, unknown>([
    ["run", randomBytes(4).toString("hex")],
    ["root", rootKey],
    ...["uuid1", "uuid2", "uuid3"].map((name) => [name, randomUUID()] as const),
  ]);
  const background = new Map<string, Promise<Outcome>>();
  for (const [i, step] of steps.entries()) {
    const found = await runStep(step, names, background);
    assert.equal(found, undefined, `step ${i + 1} (${step.call ?? `join ${step.join}`})`);
  }
}

/** Why the step fails, if it does. */
async function runStep(
  step: Step,
  names: Names,
  background: Map<string, Promise<Outcome>>,
): Promise<string | undefined> {
  if (step.background !== undefined) {
    background.set(step.background, outcome(step, names));
    return undefined;
  }
  const joined = step.join === undefined ? undefined : background.get(step.join);
  for (const deadline = Date.now() + EVENTUALLY_MS; ; await sleep(50)) {
    const found = verdict(step, await (joined ?? outcome(step, names)), names);
    if (found === undefined || !step.eventually || Date.now() > deadline) return found;
  }
}

async function outcome(step: Step, names: Names): Promise<Outcome> {
  const call = CALLS[step.call ?? ""];
  if (call === undefined) throw new Error(`no such call: ${step.call}`);
  // An empty key counts as none, whatever AGENTBUS_KEY says.
  const key = expand(step.key ?? "", names) as string;
  const bus = new Agentbus({ url, key, ignoreVersion: true, retryFor: 10_000 });
  try {
    return { result: await call(bus, expand(step.args ?? {}, names)) };
  } catch (error) {
    if (error instanceof AgentbusError) return { error };
    throw error;
  }
}

function verdict(step: Step, outcome: Outcome, names: Names): string | undefined {
  if ("error" in outcome) {
    if (step.error === undefined) return `failed: ${outcome.error.stack}`;
    return mismatch(expand(step.error, names), described(outcome.error), names, "error");
  }
  if (step.error !== undefined) return `must fail, but gave ${JSON.stringify(outcome.result)}`;
  return step.expect === undefined ? undefined : mismatch(expand(step.expect, names), outcome.result, names);
}
