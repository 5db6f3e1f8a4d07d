import { type CallOptions, path, type Transport } from "../transport.js";
import type { Consumer } from "../types.js";

/** What processes messages in the background: the processor and each webhook. */
export class Consumers {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(options: CallOptions = {}): Promise<Consumer[]> {
    const call = { method: "GET", path: "/v1/consumers", ...options } as const;
    return (await this.#transport.json<{ consumers: Consumer[] }>(call)).consumers;
  }

  /** No new attempt starts, on any server within a second. */
  pause(name: string, { reason }: { reason?: string } = {}, options: CallOptions = {}): Promise<Consumer> {
    return this.#post(name, "pause", { reason }, options);
  }

  resume(name: string, options: CallOptions = {}): Promise<Consumer> {
    return this.#post(name, "resume", undefined, options);
  }

  /** Processes everything from a sequence on again. */
  reset(name: string, { from }: { from: number }, options: CallOptions = {}): Promise<Consumer> {
    return this.#post(name, "reset", { from }, options);
  }

  #post(name: string, action: string, body: object | undefined, options: CallOptions): Promise<Consumer> {
    return this.#transport.json({
      method: "POST",
      path: path("/v1/consumers", name, action),
      body,
      ...options,
    });
  }
}
