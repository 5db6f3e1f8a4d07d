// A stream that outlives its connections.
// Invariant: every message that the filters select is yielded once and in order, whatever happens to connections.
// The connection is read only when the consumer asks for more than was read: a slow consumer holds one chunk.

import { Backoff } from "./backoff.js";
import { Cursor, type Start } from "./cursor.js";
import { ApiError, apiError, ConnectionError } from "./errors.js";
import { RECONNECT } from "./limits.js";
import { type SseEvent, SseParser } from "./sse.js";
import { Scope } from "./time.js";
import { type CallOptions, pause, type Query, type Transport } from "./transport.js";
import type { Kind } from "./types.js";

/** Sequences that the stream asked for and that neither bus nor store holds, bounds inclusive. */
export class Gap {
  /** Tells a gap from a message in a `switch` or `if`. */
  readonly kind = "gap";
  readonly from: number;
  readonly to: number;
  /** `expired`, `abandoned` or `ahead_of_log`: the cursor was of another deployment. */
  readonly reason: string;

  constructor(gap: { from: number; to: number; reason: string }) {
    this.from = gap.from;
    this.to = gap.to;
    this.reason = gap.reason;
  }
}

export interface StreamOptions extends CallOptions {
  /** Called each time when all that was kept has been yielded, and what follows is live. */
  onCaughtUp?: (() => void) | undefined;
}

/** Turns the text of a message into what the stream yields. */
export type Decode<Message> = (text: string) => Promise<Message> | Message;

/** Messages and gaps, without an end. Leaving the loop closes the connection. */
export class MessageStream<Message> implements AsyncIterableIterator<Message | Gap>, AsyncDisposable {
  readonly #scope: Scope;
  #closed = false;
  readonly #cursor: Cursor;
  readonly #items: AsyncGenerator<string | Gap>;
  readonly #decode: Decode<Message>;

  constructor(
    transport: Transport,
    query: Query,
    start: Start,
    decode: Decode<Message>,
    options: StreamOptions,
  ) {
    this.#cursor = new Cursor(start);
    this.#decode = decode;
    this.#scope = new Scope(options.signal, transport.closed);
    this.#items = items(transport, query, this.#cursor, options.onCaughtUp, this.#scope.signal);
  }

  /** The sequence to pass as `since` to go on from here. Undefined until the server was reached. */
  get cursor(): number | undefined {
    return this.#cursor.after;
  }

  /**
   * The next message or gap. Throws when the server refuses the stream for good, and a `ContentError` for a message
   * that its content type refuses; after that error the stream goes on with the next message.
   */
  async next(): Promise<IteratorResult<Message | Gap, undefined>> {
    let item: IteratorResult<string | Gap>;
    try {
      item = await this.#items.next();
    } catch (error) {
      this.#scope.release();
      if (this.#closed) return { done: true, value: undefined };
      throw error;
    }
    if (item.done) return { done: true, value: undefined };
    return { done: false, value: item.value instanceof Gap ? item.value : await this.#decode(item.value) };
  }

  /** Closes the connection. A `next` that waits ends too. */
  async return(): Promise<IteratorResult<Message | Gap, undefined>> {
    this.#closed = true;
    this.#scope.abort();
    this.#scope.release();
    await this.#items.return(undefined).catch(() => {});
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

async function* items(
  transport: Transport,
  query: Query,
  cursor: Cursor,
  onCaughtUp: (() => void) | undefined,
  signal: AbortSignal,
): AsyncGenerator<string | Gap> {
  const { logger, url } = transport.settings;
  const backoff = new Backoff(RECONNECT);
  let reported = false;
  for (;;) {
    let error: unknown;
    try {
      for await (const event of connection(transport, query, cursor, signal)) {
        backoff.base = event.retry ?? backoff.base;
        const item = interpret(event, cursor, onCaughtUp);
        if (event.name !== "ready" && item === undefined) continue;
        backoff.reset();
        if (reported) logger.info(`agentbus: the stream of ${url} goes on`);
        reported = false;
        if (item !== undefined) yield item;
      }
      error = new ConnectionError("the server ended the stream");
    } catch (caught) {
      error = caught;
    }
    if (signal.aborted) throw signal.reason;
    if (!isTransient(error)) throw error;
    if (!reported)
      logger.warn(`agentbus: the stream of ${url} is interrupted and will resume: ${text(error)}`);
    reported = true;
    await pause(error, backoff, signal);
  }
}

/** The names of events that are messages. */
const KINDS: ReadonlySet<string> = new Set<Kind>(["message", "status", "task"]);

/** What the consumer gets of an event. */
function interpret(event: SseEvent, cursor: Cursor, onCaughtUp?: () => void): string | Gap | undefined {
  const seq = event.id === undefined ? undefined : sequence(event.id);
  switch (event.name) {
    case "ready":
      if (seq !== undefined) cursor.ready(seq);
      if (event.data !== undefined && !parse<{ replaying?: boolean }>(event.data).replaying) onCaughtUp?.();
      return undefined;
    case "gap":
      return new Gap(parse(event.data));
    case "caught_up":
      onCaughtUp?.();
      return undefined;
    case "denied": {
      const { code } = parse<{ code: string }>(event.data);
      throw apiError({
        status: 401,
        code,
        detail: "the server ended the stream: its key is not valid any more",
      });
    }
    default: {
      // A message, a heartbeat, or an event of a newer server: its id moves the cursor all the same.
      const isNew = seq !== undefined && cursor.pass(seq);
      return isNew && KINDS.has(event.name) ? event.data : undefined;
    }
  }
}

/** The events of one connection, until it ends. It is half open when it is silent for too long. */
async function* connection(
  transport: Transport,
  query: Query,
  cursor: Cursor,
  signal: AbortSignal,
): AsyncGenerator<SseEvent> {
  const scope = new Scope(signal);
  const silence = new Silence(transport.settings.streamSilence, scope);
  const start = cursor.request();
  const call = {
    method: "GET",
    path: "/v1/stream",
    query: { ...query, ...start.query },
    headers: { accept: "text/event-stream", ...start.headers },
  } as const;
  try {
    const response = await silence.during(transport.open(call, undefined, scope.signal));
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      throw new ConnectionError("the answer is no event stream");
    }
    yield* events(response, silence);
  } finally {
    scope.abort();
    scope.release();
  }
}

async function* events(response: Response, silence: Silence): AsyncGenerator<SseEvent> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  const parser = new SseParser();
  for (;;) {
    const { done, value } = await silence.during(reader.read());
    if (done) return;
    yield* parser.push(value);
  }
}

/** Aborts a connection on which nothing comes, but only while something is waited for. */
class Silence {
  readonly #limit: number;
  readonly #connection: Scope;

  constructor(limit: number, connection: Scope) {
    this.#limit = limit;
    this.#connection = connection;
  }

  async during<T>(waiting: Promise<T>): Promise<T> {
    const silent = () => this.#connection.abort(new ConnectionError(`nothing came for ${this.#limit} ms`));
    const timer = setTimeout(silent, this.#limit);
    try {
      return await waiting;
    } catch (error) {
      this.#connection.signal.throwIfAborted();
      // What `fetch` and its body throw: the connection is lost.
      throw error instanceof ApiError || error instanceof ConnectionError
        ? error
        : new ConnectionError(`the connection is lost: ${text(error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
}

// A stream goes on after everything but a refusal of the request itself.
function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionError) return true;
  return error instanceof ApiError && (error.status >= 500 || error.status === 429 || error.status === 408);
}

function sequence(id: string): number {
  if (!/^\d{1,16}$/.test(id))
    throw new ConnectionError(`the id of an event is no sequence: ${id.slice(0, 40)}`);
  return Number(id);
}

function parse<T>(data: string | undefined): T {
  try {
    return JSON.parse(data ?? "");
  } catch (cause) {
    throw new ConnectionError("an event of the stream cannot be read", { cause });
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
