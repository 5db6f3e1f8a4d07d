import { type CallOptions, path, type Transport } from "../transport.js";
import type { NewWebhook, Webhook } from "../types.js";

/** Messages pushed to your own servers. */
export class Webhooks {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Oldest first. */
  async list(options: CallOptions = {}): Promise<Webhook[]> {
    const call = { method: "GET", path: "/v1/webhooks", ...options } as const;
    return (await this.#transport.json<{ webhooks: Webhook[] }>(call)).webhooks;
  }

  get(id: string, options: CallOptions = {}): Promise<Webhook> {
    return this.#transport.json({ method: "GET", path: path("/v1/webhooks", id), ...options });
  }

  /** Only this answer has the secret. */
  create(webhook: NewWebhook, options: CallOptions = {}): Promise<Webhook & { secret: string }> {
    return this.#transport.json({ method: "POST", path: "/v1/webhooks", body: webhook, ...options });
  }

  pause(id: string, options: CallOptions = {}): Promise<Webhook> {
    return this.#setState(id, "paused", options);
  }

  resume(id: string, options: CallOptions = {}): Promise<Webhook> {
    return this.#setState(id, "active", options);
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call({ method: "DELETE", path: path("/v1/webhooks", id), ...options });
  }

  #setState(id: string, state: Webhook["state"], options: CallOptions): Promise<Webhook> {
    return this.#transport.json({
      method: "PATCH",
      path: path("/v1/webhooks", id),
      body: { state },
      ...options,
    });
  }
}
