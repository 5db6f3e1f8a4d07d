import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when the condition holds; fails when it does not within 20 s. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await condition()); await sleep(10)) {
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}`);
  }
}
