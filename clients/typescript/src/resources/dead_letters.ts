import { pages } from "../pages.js";
import { type CallOptions, path, type Transport } from "../transport.js";
import type { DeadLetter, Redriven } from "../types.js";

export interface DeadLetterQuery {
  /** Only of this consumer, webhook or queue. */
  source?: string | undefined;
  kind?: "message" | "job" | undefined;
}

/** Messages and jobs that could not be processed, with every attempt. */
export class DeadLetters {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Oldest first. */
  list(query: DeadLetterQuery = {}, options: CallOptions = {}): AsyncGenerator<DeadLetter, void, undefined> {
    return pages(this.#transport, "/v1/dead-letters", "dead_letters", { ...query }, options);
  }

  get(id: string, options: CallOptions = {}): Promise<DeadLetter> {
    return this.#transport.json({ method: "GET", path: path("/v1/dead-letters", id), ...options });
  }

  /** Returns one to its source, with all its attempts again. */
  redrive(id: string, options: CallOptions = {}): Promise<Redriven> {
    return this.#transport.json({
      method: "POST",
      path: path("/v1/dead-letters", id, "redrive"),
      ...options,
    });
  }

  /** Returns all of a source, or simply all. */
  redriveAll(query: DeadLetterQuery = {}, options: CallOptions = {}): Promise<Redriven> {
    const call = { method: "POST", path: "/v1/dead-letters/redrive", query: { ...query } } as const;
    return this.#transport.json({ ...call, ...options });
  }

  /** A message stays in the history; a job is deleted. */
  async discard(id: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call({ method: "DELETE", path: path("/v1/dead-letters", id), ...options });
  }
}
