import { pages } from "../pages.js";
import { type CallOptions, path, type Transport } from "../transport.js";
import type { Queue, QueueSettings } from "../types.js";

/** Work queues themselves; `enqueue`, `worker` and `leases` deal with their jobs. */
export class Queues {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** All queues that the key may see, by name. */
  list(options: CallOptions = {}): AsyncGenerator<Queue, void, undefined> {
    return pages(this.#transport, "/v1/queues", "queues", {}, options);
  }

  get(queue: string, options: CallOptions = {}): Promise<Queue> {
    return this.#transport.json({ method: "GET", path: path("/v1/queues", queue), ...options });
  }

  /** Creates a queue or replaces its settings. What is left out gets the server's default. */
  async set(queue: string, settings: QueueSettings = {}, options: CallOptions = {}): Promise<void> {
    await this.#transport.call({
      method: "PUT",
      path: path("/v1/queues", queue),
      body: settings,
      ...options,
    });
  }

  /** Deletes an empty queue; with `force` also what waits or is delayed, never what is leased. */
  async delete(queue: string, { force }: { force?: boolean } = {}, options: CallOptions = {}): Promise<void> {
    const call = { method: "DELETE", path: path("/v1/queues", queue), query: { force } } as const;
    await this.#transport.call({ ...call, ...options });
  }
}
