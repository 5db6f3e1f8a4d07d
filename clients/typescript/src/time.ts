// Waits that end early, and signals that depend on others.

/** Resolves after `ms`; rejects with the signal's reason when that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const aborted = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/**
 * A signal that is aborted with the first of others, or by itself. Released, it leaves nothing behind: no listener on
 * signals that live longer, which `AbortSignal.any` of Node.js 20 does, and no timer.
 */
export class Scope {
  readonly #controller = new AbortController();
  readonly #parents: AbortSignal[];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(...parents: (AbortSignal | undefined)[]) {
    this.#parents = parents.filter((parent) => parent !== undefined);
    for (const parent of this.#parents) {
      if (parent.aborted) this.abort(parent.reason);
      else parent.addEventListener("abort", this.#follow, { once: true });
    }
  }

  readonly #follow = (event: Event): void => this.abort((event.target as AbortSignal).reason);

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason?: unknown): void {
    this.#controller.abort(reason);
  }

  /** Aborts after this time, unless it is released before. */
  abortAfter(ms: number, reason: unknown): void {
    this.#timer = setTimeout(() => this.abort(reason), ms);
  }

  /** Follows no other signal any more. */
  release(): void {
    clearTimeout(this.#timer);
    for (const parent of this.#parents) parent.removeEventListener("abort", this.#follow);
  }
}
