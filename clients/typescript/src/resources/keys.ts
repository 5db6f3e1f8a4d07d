import { pages } from "../pages.js";
import { type CallOptions, path, type Transport } from "../transport.js";
import type { AuditEntry, Key, KeyChange, NewKey } from "../types.js";

/** Keys, and the log of what was done with them. */
export class Keys {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  list(options: CallOptions = {}): AsyncGenerator<Key, void, undefined> {
    return pages(this.#transport, "/v1/keys", "keys", {}, options);
  }

  get(id: string, options: CallOptions = {}): Promise<Key> {
    return this.#transport.json({ method: "GET", path: path("/v1/keys", id), ...options });
  }

  /** Only this answer has the key itself. */
  create(key: NewKey, options: CallOptions = {}): Promise<Key & { key: string }> {
    return this.#transport.json({ method: "POST", path: "/v1/keys", body: key, ...options });
  }

  update(id: string, change: KeyChange, options: CallOptions = {}): Promise<Key> {
    return this.#transport.json({ method: "PATCH", path: path("/v1/keys", id), body: change, ...options });
  }

  /** A new secret. The old one is accepted for `overlap_s` seconds more. */
  rotate(
    id: string,
    { overlap_s }: { overlap_s: number },
    options: CallOptions = {},
  ): Promise<{ id: string; key: string }> {
    const call = { method: "POST", path: path("/v1/keys", id, "rotate"), body: { overlap_s } } as const;
    return this.#transport.json({ ...call, ...options });
  }

  async revoke(id: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call({ method: "DELETE", path: path("/v1/keys", id), ...options });
  }

  /** Who did what, oldest first. */
  audit(
    query: { after?: number; limit?: number } = {},
    options: CallOptions = {},
  ): AsyncGenerator<AuditEntry, void, undefined> {
    return pages(this.#transport, "/v1/audit", "entries", query, options);
  }
}
