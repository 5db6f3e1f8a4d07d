// Requests with JSON answers: headers, time limits, errors, and repeats of what is safe to repeat.
// Invariant: only a request that says so is repeated, and always with the same bytes.

import { Backoff } from "./backoff.js";
import {
  AgentbusError,
  ApiError,
  apiError,
  ConnectionError,
  LeaseLostError,
  NoReplyError,
  type Problem,
} from "./errors.js";
import { FIRST_WAIT, LONGEST_WAIT } from "./limits.js";
import { isServerSide, type Resolved } from "./settings.js";
import { Scope, sleep } from "./time.js";
import { addTraceHeaders } from "./trace.js";
import { USER_AGENT } from "./version.js";

export type Query = Record<string, QueryValue | readonly string[]>;
type QueryValue = string | number | boolean | undefined;

/** The last argument of every method. */
export interface CallOptions {
  /** Ends the call: it throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface Call extends CallOptions {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  query?: Query;
  /** JSON of this value; a string is the body as it stands. */
  body?: unknown;
  contentType?: string;
  headers?: Record<string, string>;
  /** Whether the same request may be sent again; by default GET may. */
  repeatable?: boolean;
  /** Whether 410 means done when the answer to an earlier attempt may have been lost. */
  goneIsDone?: boolean;
  /** How long the server was asked to hold the answer, in seconds. */
  waitS?: number | undefined;
}

export interface Answer<T> {
  status: number;
  /** Undefined for 204. */
  body: T;
  /** The server's clock, in milliseconds since 1970, rounded down to a second; undefined if it may not be read. */
  date: number | undefined;
}

const GONE: Answer<object> = { status: 200, body: {}, date: undefined };

/** A path of encoded segments: `path("/v1/queues", name)`. */
export function path(prefix: string, ...segments: string[]): string {
  return [prefix, ...segments.map(encodeURIComponent)].join("/");
}

export class Transport {
  readonly settings: Resolved;
  /** Aborted when the client is closed. */
  readonly closed: AbortSignal;
  /** Called after the first answer. */
  onReached: (() => void) | undefined;

  constructor(settings: Resolved, closed: AbortSignal) {
    this.settings = settings;
    this.closed = closed;
  }

  /** The answer's body. */
  async json<T>(call: Call): Promise<T> {
    return (await this.call<T>(call)).body;
  }

  /** Sends the request, again and again where that is safe, until it is answered or the time is over. */
  async call<T>(call: Call): Promise<Answer<T>> {
    const scope = new Scope(call.signal, this.closed);
    try {
      return await this.#repeat<T>(call, scope.signal);
    } finally {
      scope.release();
    }
  }

  /** Sends a request whose answer is read by the caller. Refusals are errors. */
  async open(call: Call, body: string | undefined, signal: AbortSignal): Promise<Response> {
    const { settings } = this;
    const init: RequestInit = { method: call.method, headers: await this.#headers(call), signal };
    if (body !== undefined) init.body = body;
    if (settings.credentials) init.credentials = settings.credentials;
    const response = await settings
      .fetch(settings.url + call.path + queryString(call.query), init)
      .catch((error) => {
        throw connectionError(error, settings.url);
      });
    if (!response.ok) throw apiError(await problem(response), retryAfter(response));
    this.#reached();
    return response;
  }

  async #repeat<T>(call: Call, signal: AbortSignal): Promise<Answer<T>> {
    const waitMs = (call.waitS ?? 0) * 1000;
    const deadline = Date.now() + this.settings.retryFor + waitMs;
    const backoff = new Backoff(FIRST_WAIT);
    const repeatable = call.repeatable ?? call.method === "GET";
    const isText = call.body === undefined || typeof call.body === "string";
    const body = isText ? (call.body as string | undefined) : JSON.stringify(call.body);
    for (let afterLoss = false; ; ) {
      try {
        return await this.#attempt<T>(call, body, waitMs, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (afterLoss && call.goneIsDone && error instanceof LeaseLostError) return GONE as Answer<T>;
        if (!repeatable || !isTransient(error)) throw error;
        afterLoss ||= mayHaveArrived(error);
        const wait = backoff.next(retryAfterMs(error));
        if (Date.now() + wait > deadline) throw error;
        await sleep(wait, signal);
      }
    }
  }

  async #attempt<T>(
    call: Call,
    body: string | undefined,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<Answer<T>> {
    const limit = this.settings.attemptTimeout + waitMs;
    const timeout = new ConnectionError(`${this.settings.url} did not answer within ${limit} ms`);
    const scope = new Scope(signal);
    scope.abortAfter(limit, timeout);
    try {
      const response = await this.open(call, body, scope.signal);
      const date = Date.parse(response.headers.get("date") ?? "");
      const parsed = (await parse(response)) as T;
      return { status: response.status, body: parsed, date: Number.isNaN(date) ? undefined : date };
    } catch (error) {
      if (scope.signal.reason === timeout) throw timeout;
      throw error instanceof AgentbusError ? error : connectionError(error, this.settings.url);
    } finally {
      scope.release();
    }
  }

  async #headers(call: Call): Promise<Record<string, string>> {
    const { key, propagate } = this.settings;
    const headers: Record<string, string> = { accept: "application/json", ...call.headers };
    if (call.body !== undefined) headers["content-type"] = call.contentType ?? "application/json";
    if (key !== undefined) headers.authorization = `Bearer ${key}`;
    // Browsers send their own, and would ask the server's permission for another.
    if (isServerSide()) headers["user-agent"] = USER_AGENT;
    await (propagate ?? addTraceHeaders)(headers);
    return headers;
  }

  #reached(): void {
    const onReached = this.onReached;
    this.onReached = undefined;
    onReached?.();
  }
}

/** The fault may pass: of the network, of a proxy, or of a server that starts, stops or has too much to do. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionError) return true;
  if (!(error instanceof ApiError) || error instanceof NoReplyError) return false;
  return [429, 502, 503, 504].includes(error.status);
}

/** Waits before the next attempt of what goes on for as long as it takes. */
export function pause(error: unknown, backoff: Backoff, signal: AbortSignal | undefined): Promise<void> {
  return sleep(backoff.next(Math.min(retryAfterMs(error), LONGEST_WAIT)), signal);
}

// How long the server wants to be left alone, in milliseconds.
function retryAfterMs(error: unknown): number {
  return error instanceof ApiError ? (error.retry_after ?? 0) * 1000 : 0;
}

// Whether a failed attempt may have done its work all the same.
function mayHaveArrived(error: unknown): boolean {
  if (error instanceof ApiError) return error.status !== 429;
  const code = ((error as Error).cause as { cause?: { code?: string } } | undefined)?.cause?.code;
  return code !== "ECONNREFUSED" && code !== "ENOTFOUND";
}

function connectionError(error: unknown, url: string): ConnectionError {
  // undici hides the cause of "fetch failed".
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const text =
    cause instanceof Error ? cause.message || (cause as { code?: string }).code || cause.name : String(cause);
  return new ConnectionError(`cannot reach ${url}: ${text}`, { cause: error });
}

async function parse(response: Response): Promise<unknown> {
  if (response.status === 204) return undefined;
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConnectionError(`the answer to ${response.url} is not JSON`, { cause });
  }
}

async function problem(response: Response): Promise<Problem> {
  const { status } = response;
  const text = await response.text().catch(() => "");
  try {
    const document: unknown = JSON.parse(text);
    if (document instanceof Object && "code" in document)
      return { detail: "", ...document, status } as Problem;
  } catch {
    // A proxy's page: told by its status below.
  }
  return { status, code: `http_${status}`, detail: response.statusText || "no problem document" };
}

function retryAfter(response: Response): number | undefined {
  const value = response.headers.get("retry-after");
  if (value === null) return undefined;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

function queryString(query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const values = Array.isArray(value) ? value : [value];
    return values.map((each) => [name, String(each)]);
  });
  return pairs.length === 0 ? "" : `?${new URLSearchParams(pairs)}`;
}
