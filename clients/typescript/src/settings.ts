// The settings of a client: what was given, else the environment, else a default.

import { ATTEMPT_TIMEOUT, RETRY_FOR, STREAM_SILENCE } from "./limits.js";

/** Where the client reports what it repairs by itself. `console` is one. */
export interface Logger {
  warn(text: string): void;
  info(text: string): void;
}

/** How a client reaches its server. Times are in milliseconds. */
export interface Settings {
  /** The server's address. Default: `AGENTBUS_URL`, else `http://127.0.0.1:8080`. */
  url?: string | undefined;
  /** The key, `ab_…`, or a token of a configured issuer. Default: `AGENTBUS_KEY`. Without one, or empty: anonymous, or by cookie. */
  key?: string | undefined;
  /** Who the client acts as: sender, worker and owner of the inbox, unless a call names another. */
  agent?: string | undefined;
  /** In browsers: whether cookies go along. `include` for another origin that `CORS_ORIGINS` names. */
  credentials?: "omit" | "same-origin" | "include" | undefined;
  /** Another `fetch`, such as one with a proxy. */
  fetch?: typeof fetch | undefined;
  /** Default: warnings to the console. `false`: nothing. */
  logger?: Logger | false | undefined;
  /** How long a request that may be repeated is repeated; 30 s. */
  retryFor?: number | undefined;
  /** How long one attempt may take, besides the time that the server was asked to wait; 15 s. */
  attemptTimeout?: number | undefined;
  /** After how long without a byte a stream reconnects; 45 s, three heartbeats. */
  streamSilence?: number | undefined;
  /**
   * Adds headers for distributed tracing. Default: those of `@opentelemetry/api`, where that is installed; in browsers
   * none, unless set: `(headers) => propagation.inject(context.active(), headers)`.
   */
  propagate?: ((headers: Record<string, string>) => void) | undefined;
}

export interface Resolved {
  /** Without a slash at the end. */
  readonly url: string;
  readonly key: string | undefined;
  readonly agent: string | undefined;
  readonly credentials: "omit" | "same-origin" | "include" | undefined;
  readonly fetch: typeof fetch;
  readonly logger: Logger;
  readonly retryFor: number;
  readonly attemptTimeout: number;
  readonly streamSilence: number;
  readonly propagate: ((headers: Record<string, string>) => void) | undefined;
}

const QUIET: Logger = { warn() {}, info() {} };
const WARNINGS: Logger = { warn: (text) => console.warn(text), info() {} };

export function resolve(settings: Settings): Resolved {
  const url = settings.url ?? environment("AGENTBUS_URL") ?? "http://127.0.0.1:8080";
  if (!/^https?:\/\/./.test(url)) {
    throw new TypeError(
      `the address of the server must begin with http:// or https://, not ${JSON.stringify(url)}`,
    );
  }
  return {
    url: url.replace(/\/+$/, ""),
    key: (settings.key ?? environment("AGENTBUS_KEY")) || undefined,
    agent: settings.agent,
    credentials: settings.credentials,
    fetch: settings.fetch ?? globalThis.fetch.bind(globalThis),
    logger: settings.logger === false ? QUIET : (settings.logger ?? WARNINGS),
    retryFor: settings.retryFor ?? RETRY_FOR,
    attemptTimeout: settings.attemptTimeout ?? ATTEMPT_TIMEOUT,
    streamSilence: settings.streamSilence ?? STREAM_SILENCE,
    propagate: settings.propagate,
  };
}

interface Environment {
  process?: { env?: Record<string, string | undefined>; versions?: { node?: string } };
}

/** Node.js, Deno or Bun: there is an environment, and requests may have any header. */
export function isServerSide(): boolean {
  return (globalThis as Environment).process?.versions?.node !== undefined;
}

function environment(name: string): string | undefined {
  if (!isServerSide()) return undefined;
  try {
    // An empty variable counts as none.
    return (globalThis as Environment).process?.env?.[name] || undefined;
  } catch {
    // Deno without the permission to read it.
    return undefined;
  }
}
