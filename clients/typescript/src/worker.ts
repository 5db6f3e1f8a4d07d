// Works on the jobs of a queue: leases, extends, and ends each lease by how the handler ended.
// Invariant: it never holds more leases than handlers may run, and ends each lease once.

import { Backoff } from "./backoff.js";
import { type ContentType, check } from "./content.js";
import { ContentError, PermanentFailure, RetryLater } from "./errors.js";
import { keepLease } from "./keep_lease.js";
import type { Leases } from "./leases.js";
import { FIRST_WAIT, LEASE_JOBS, STOP_WITHIN, WAIT_S } from "./limits.js";
import type { Logger } from "./settings.js";
import { Scope } from "./time.js";
import { inTraceOf } from "./trace.js";
import { isTransient, pause } from "./transport.js";
import type { Job } from "./types.js";

export interface JobContext {
  /** Aborted when the lease is lost, or when the worker's time to stop is over: the result would not count. */
  signal: AbortSignal;
}

/**
 * Does one job. Returning is success. An error makes the server try the job again, with the error as the reason;
 * a `RetryLater` says when, and a `PermanentFailure` makes it a dead letter.
 */
export type JobHandler<Payload> = (job: Job<Payload>, context: JobContext) => unknown;

/** How a job's lease ended here. `lost`: it ran out, or the server was away for too long. */
export type JobEnd = "acked" | "nacked" | "failed" | "lost";

export interface WorkerOptions<Payload = unknown> {
  /** How many handlers run at a time; 1. */
  concurrency?: number | undefined;
  /** The worker's name; by default the client's `agent`. */
  worker?: string | undefined;
  /** Checks payloads; a payload that it refuses makes the job a dead letter. */
  payload?: ContentType<Payload> | undefined;
  /** How long handlers may go on after `stop`, in milliseconds; 30 s. Then their jobs go back to the queue. */
  stopWithin?: number | undefined;
  /** Called after each job, for counters and logs. */
  onEnd?: ((job: Job<Payload>, end: JobEnd) => void) | undefined;
  /** Aborted: as `stop`. */
  signal?: AbortSignal | undefined;
}

interface Surroundings {
  leases: Leases;
  logger: Logger;
  closed: AbortSignal;
}

export class Worker<Payload = unknown> implements AsyncDisposable {
  readonly #queue: string;
  readonly #handler: JobHandler<Payload>;
  readonly #options: WorkerOptions<Payload>;
  readonly #leases: Leases;
  readonly #logger: Logger;
  /** Aborted: no new leases. */
  readonly #leasing: Scope;
  /** Aborted: no more time for handlers. */
  readonly #cutting = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #finished: Promise<void> | undefined;

  constructor(
    queue: string,
    handler: JobHandler<Payload>,
    options: WorkerOptions<Payload>,
    { leases, logger, closed }: Surroundings,
  ) {
    this.#queue = queue;
    this.#handler = handler;
    this.#options = options;
    this.#leases = leases;
    this.#logger = logger;
    this.#leasing = new Scope(options.signal, closed);
  }

  /** Works until it is stopped. Throws when the server refuses to lease, after running handlers have ended. */
  run(): Promise<void> {
    this.#finished ??= this.#work();
    return this.#finished;
  }

  /** Takes no more jobs, and resolves when running handlers have ended or were cut off after `stopWithin`. */
  async stop(): Promise<void> {
    this.#leasing.abort();
    await this.#finished?.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #work(): Promise<void> {
    try {
      await this.#takeJobs();
    } finally {
      const cut = setTimeout(() => this.#cutting.abort(), this.#options.stopWithin ?? STOP_WITHIN);
      this.#leasing.release();
      await Promise.all(this.#running);
      clearTimeout(cut);
    }
  }

  async #takeJobs(): Promise<void> {
    const backoff = new Backoff(FIRST_WAIT);
    let reported = false;
    while (!this.#leasing.signal.aborted) {
      try {
        await this.#takeSome();
        backoff.reset();
        reported = false;
      } catch (error) {
        if (this.#leasing.signal.aborted) return;
        if (!isTransient(error)) throw error;
        if (!reported)
          this.#logger.warn(`agentbus: no jobs of ${this.#queue} can be leased yet: ${text(error)}`);
        reported = true;
        await pause(error, backoff, this.#leasing.signal).catch(() => {});
      }
    }
  }

  /** Leases as many jobs as handlers may start, and starts them. Waits for a handler first if none may. */
  async #takeSome(): Promise<void> {
    const free = Math.min(LEASE_JOBS, (this.#options.concurrency ?? 1) - this.#running.size);
    if (free <= 0) {
      await this.#someEnd();
      return;
    }
    const request = { max: free, wait_s: WAIT_S, worker: this.#options.worker };
    const { body, date } = await this.#leases.takeDated(this.#queue, request, {
      signal: this.#leasing.signal,
    });
    for (const job of body?.jobs ?? []) {
      const running: Promise<void> = this.#do(job as Job<Payload>, date).finally(() =>
        this.#running.delete(running),
      );
      this.#running.add(running);
    }
  }

  /** Resolves when a handler has ended, or the worker is to stop. */
  #someEnd(): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#leasing;
      const end = () => {
        signal.removeEventListener("abort", end);
        resolve();
      };
      if (signal.aborted) return end();
      signal.addEventListener("abort", end, { once: true });
      void Promise.race(this.#running).then(end);
    });
  }

  async #do(job: Job<Payload>, date: number | undefined): Promise<void> {
    const lost = new AbortController();
    const scope = new Scope(lost.signal, this.#cutting.signal);
    const over = new AbortController();
    const kept = keepLease(this.#leases, job, date, over.signal, (error) => lost.abort(error));
    const failure = await this.#handle(job, scope.signal);
    over.abort();
    scope.release();
    await kept;
    const end = await this.#end(job, failure, lost.signal);
    try {
      this.#options.onEnd?.(job, end);
    } catch (error) {
      this.#logger.warn(`agentbus: onEnd of a worker of ${this.#queue} failed: ${text(error)}`);
    }
  }

  /** How the handler failed; undefined for success. Does not wait for a handler that is cut off. */
  async #handle(job: Job<Payload>, signal: AbortSignal): Promise<{ error: unknown } | undefined> {
    const cut = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new Error("the worker stopped, or lost the lease")), {
        once: true,
      });
    });
    try {
      await Promise.race([cut, this.#call(job, signal)]);
      return undefined;
    } catch (error) {
      return { error };
    }
  }

  async #call(job: Job<Payload>, signal: AbortSignal): Promise<unknown> {
    const { payload: type } = this.#options;
    if (type === undefined) return inTraceOf(job, () => this.#handler(job, { signal }));
    const payload = (await check(type, `job ${job.job_id}`, job.payload, job)) as Payload;
    return inTraceOf(job, () => this.#handler({ ...job, payload }, { signal }));
  }

  async #end(job: Job, failure: { error: unknown } | undefined, lost: AbortSignal): Promise<JobEnd> {
    try {
      lost.throwIfAborted();
      return await this.#endLease(job, failure);
    } catch (error) {
      this.#logger.warn(`agentbus: the lease of job ${job.job_id} is lost: ${text(error)}`);
      return "lost";
    }
  }

  async #endLease(job: Job, failure: { error: unknown } | undefined): Promise<JobEnd> {
    if (failure === undefined) {
      await this.#leases.ack(job.lease_token);
      return "acked";
    }
    const reason = text(failure.error);
    if (failure.error instanceof PermanentFailure || isRefusedPayload(failure.error, job)) {
      await this.#leases.fail(job.lease_token, { reason });
      return "failed";
    }
    // A job that was cut off is no failure: it may run elsewhere now.
    const asked = failure.error instanceof RetryLater ? failure.error.delay_s : undefined;
    const delay_s = this.#cutting.signal.aborted ? 0 : asked;
    await this.#leases.nack(job.lease_token, { reason, delay_s });
    return "nacked";
  }
}

function isRefusedPayload(error: unknown, job: Job): boolean {
  return error instanceof ContentError && error.received === job;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
