// Leases of jobs, one request each. `worker` does all of this by itself.

import { type Answer, type CallOptions, path, type Transport } from "./transport.js";
import type { Job, Lease } from "./types.js";

export interface LeaseRequest {
  /** 1, the default, to 1,000 jobs. */
  max?: number | undefined;
  /** Seconds to wait for a job, 0 to 60. */
  wait_s?: number | undefined;
  /** Who works on it. Must be in the key's `as`; may be left out with a key for one name alone. */
  worker?: string | undefined;
}

export class Leases {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Takes jobs of a queue; none when the wait is over. A job whose answer got lost comes again after its lease. */
  async take(queue: string, request: LeaseRequest = {}, options: CallOptions = {}): Promise<Job[]> {
    return (await this.takeDated(queue, request, options)).body?.jobs ?? [];
  }

  /** As `take`, with the server's clock. */
  takeDated(
    queue: string,
    request: LeaseRequest,
    options: CallOptions,
  ): Promise<Answer<{ jobs: Job[] } | undefined>> {
    const call = { method: "POST", path: path("/v1/queues", queue, "lease"), body: request } as const;
    return this.#transport.call({ ...call, waitS: request.wait_s, repeatable: true, ...options });
  }

  /** The job is done. */
  async ack(token: string, options: CallOptions = {}): Promise<void> {
    await this.#end(token, "ack", {}, options);
  }

  /** The job is tried again, after `delay_s` or the queue's backoff. */
  async nack(
    token: string,
    how: { delay_s?: number | undefined; reason?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<void> {
    await this.#end(token, "nack", how, options);
  }

  /** The job becomes a dead letter now. */
  async fail(
    token: string,
    how: { reason?: string | undefined } = {},
    options: CallOptions = {},
  ): Promise<void> {
    await this.#end(token, "fail", how, options);
  }

  /** Another lease from now. The first token stays valid. */
  async extend(token: string, options: CallOptions = {}): Promise<Lease> {
    return (await this.extendDated(token, options)).body;
  }

  /** As `extend`, with the server's clock. */
  extendDated(token: string, options: CallOptions): Promise<Answer<Lease>> {
    const call = { method: "POST", path: path("/v1/leases", token, "extend"), body: {} } as const;
    return this.#transport.call({ ...call, repeatable: true, ...options });
  }

  async #end(token: string, action: string, body: object, options: CallOptions): Promise<void> {
    const call = { method: "POST", path: path("/v1/leases", token, action), body } as const;
    await this.#transport.call({ ...call, repeatable: true, goneIsDone: true, ...options });
  }
}
