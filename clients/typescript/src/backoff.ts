// The waits between attempts: exponential with full jitter, so that clients do not come back all at once.

import { LONGEST_WAIT } from "./limits.js";

export class Backoff {
  /** The bound of the first wait, in milliseconds. */
  base: number;
  #attempts = 0;

  constructor(base: number) {
    this.base = base;
  }

  /** The next wait in milliseconds, at least `askedFor`, which is the server's `Retry-After`. */
  next(askedFor = 0): number {
    const bound = Math.min(LONGEST_WAIT, this.base * 2 ** Math.min(this.#attempts, 16));
    this.#attempts += 1;
    return Math.max(askedFor, Math.random() * bound);
  }

  /** An attempt has succeeded. */
  reset(): void {
    this.#attempts = 0;
  }
}
