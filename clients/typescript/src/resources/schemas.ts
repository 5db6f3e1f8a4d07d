import { type CallOptions, path, type Transport } from "../transport.js";
import type { Kind, NewSchema, Schema } from "../types.js";

/** The rules of the server for messages of a type, from every sender. */
export class Schemas {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The newest version of each, without the schemas themselves. */
  async list(options: CallOptions = {}): Promise<Schema[]> {
    const call = { method: "GET", path: "/v1/schemas", ...options } as const;
    return (await this.#transport.json<{ schemas: Schema[] }>(call)).schemas;
  }

  /** The newest version. */
  get(kind: Kind, type: string, options: CallOptions = {}): Promise<Schema> {
    return this.#transport.json({ method: "GET", path: path("/v1/schemas", kind, type), ...options });
  }

  /** The versions that are kept, newest first. */
  async versions(kind: Kind, type: string, options: CallOptions = {}): Promise<Schema[]> {
    const call = { method: "GET", path: path("/v1/schemas", kind, type, "versions"), ...options } as const;
    return (await this.#transport.json<{ versions: Schema[] }>(call)).versions;
  }

  /** Makes a new version; none if it is as the newest is. */
  put(kind: Kind, type: string, schema: NewSchema, options: CallOptions = {}): Promise<Schema> {
    const call = { method: "PUT", path: path("/v1/schemas", kind, type), body: schema } as const;
    return this.#transport.json({ ...call, ...options });
  }

  /** How many of the last 1,000 messages of the type a schema would refuse. Stores nothing. */
  async check(kind: Kind, type: string, schema: NewSchema, options: CallOptions = {}): Promise<number> {
    const call = { method: "PUT", path: path("/v1/schemas", kind, type), query: { check: true } } as const;
    const checked = await this.#transport.json<{ incompatible: number }>({
      ...call,
      body: schema,
      ...options,
    });
    return checked.incompatible;
  }

  /** Deletes the schema with all its versions. */
  async delete(kind: Kind, type: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call({ method: "DELETE", path: path("/v1/schemas", kind, type), ...options });
  }
}
