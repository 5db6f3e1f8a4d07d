// What the programs for fault tests have in common: their arguments, and how they end.

import { parseArgs } from "node:util";
import { Agentbus } from "agentbus";

/** The arguments by name; each is a string. `AGENTBUS_URL` and `AGENTBUS_KEY` name the server. */
export function readArguments(usage, names) {
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" }]));
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(`${error.message}\n${usage}`);
    process.exit(2);
  }
}

/** A client that never gives up what it may repeat. It logs to standard error. */
export function connect() {
  const log = (text) => console.error(text);
  return new Agentbus({
    agent: "typescript",
    retryFor: Number.POSITIVE_INFINITY,
    logger: { warn: log, info: log },
  });
}

/** A number of that name, or the other value. */
export function number(value, otherwise) {
  return value === undefined ? otherwise : Number(value);
}

export function print(line) {
  console.log(JSON.stringify(line));
}

/** Aborted by SIGTERM. */
export function termination() {
  const controller = new AbortController();
  process.once("SIGTERM", () => controller.abort());
  return controller.signal;
}
