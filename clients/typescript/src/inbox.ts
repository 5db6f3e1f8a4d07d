// The messages for one agent, at least once: what was not acknowledged comes again.
// Invariant: a message is acknowledged when the next one is asked for, and never before.

import { Backoff } from "./backoff.js";
import { FIRST_WAIT, WAIT_S } from "./limits.js";
import { Scope } from "./time.js";
import { type CallOptions, isTransient, path, pause, type Transport } from "./transport.js";
import type { Envelope, InboxPosition } from "./types.js";

export interface InboxQuery {
  /** Messages without a recipient too. */
  broadcast?: boolean | undefined;
  /** After this sequence; by default after what is consumed. */
  after?: number | undefined;
  /** Messages of a page, 1 to 1,000; by default 100. */
  limit?: number | undefined;
}

export interface InboxPageQuery extends InboxQuery {
  /** Seconds to wait for a message, 0 to 60. */
  wait_s?: number | undefined;
}

export interface InboxPage<Message> {
  messages: Message[];
  /** The `after` of the next page, or null. */
  next: number | null;
  /** Absent when the wait was over. */
  committed_through?: number;
}

export interface InboxOptions extends CallOptions {
  /** `each`, the default: the loop acknowledges a message when it asks for the next. `none`: by `ack` alone. */
  ack?: "each" | "none" | undefined;
}

/** One page of an inbox, as the server has it. */
export async function inboxPage(
  transport: Transport,
  agent: string,
  { broadcast, after, limit, wait_s }: InboxPageQuery,
  options: CallOptions,
): Promise<InboxPage<Envelope>> {
  const page = await transport.json<InboxPage<Envelope> | undefined>({
    method: "GET",
    path: path("/v1/agents", agent, "inbox"),
    query: { broadcast, after, limit, wait: wait_s },
    waitS: wait_s,
    ...options,
  });
  return page ?? { messages: [], next: null };
}

/** Acknowledges everything through a sequence. */
export function ackInbox(
  transport: Transport,
  agent: string,
  through: number,
  options: CallOptions,
): Promise<InboxPosition> {
  const call = {
    method: "POST",
    path: path("/v1/agents", agent, "inbox", "ack"),
    body: { through },
  } as const;
  return transport.json({ ...call, repeatable: true, ...options });
}

/** The messages of an inbox, without an end. Leave the loop to stop; the current message stays unacknowledged. */
export class Inbox<Message extends { seq: number }>
  implements AsyncIterableIterator<Message>, AsyncDisposable
{
  readonly #transport: Transport;
  readonly #agent: string;
  readonly #options: InboxOptions;
  readonly #decode: (envelope: Envelope) => Promise<Message>;
  readonly #scope: Scope;
  readonly #envelopes: AsyncGenerator<Envelope>;
  #closed = false;
  /** The sequence of the last message that was given, and whether the loop has yet to acknowledge it. */
  #given: number | undefined;
  #owed = false;

  constructor(
    transport: Transport,
    agent: string,
    query: InboxQuery,
    decode: (envelope: Envelope) => Promise<Message>,
    options: InboxOptions,
  ) {
    this.#transport = transport;
    this.#agent = agent;
    this.#options = options;
    this.#decode = decode;
    this.#scope = new Scope(options.signal, transport.closed);
    this.#envelopes = this.#read(query);
  }

  /** Acknowledges this message, by default the last one that was given, and all before it. */
  async ack(message?: { seq: number }): Promise<InboxPosition> {
    const through = message?.seq ?? this.#given;
    if (through === undefined) throw new TypeError("there is no message to acknowledge yet");
    const position = await ackInbox(this.#transport, this.#agent, through, { signal: this.#options.signal });
    if (through === this.#given) this.#owed = false;
    return position;
  }

  /**
   * The next message. Throws when the server refuses, and a `ContentError` for a message that its content type
   * refuses; after that error the next call acknowledges the message and goes on.
   */
  async next(): Promise<IteratorResult<Message, undefined>> {
    let item: IteratorResult<Envelope>;
    try {
      await this.#ackLast();
      item = await this.#envelopes.next();
    } catch (error) {
      this.#scope.release();
      if (this.#closed) return { done: true, value: undefined };
      throw error;
    }
    if (item.done) return { done: true, value: undefined };
    this.#given = item.value.seq;
    this.#owed = this.#options.ack !== "none";
    return { done: false, value: await this.#decode(item.value) };
  }

  async return(): Promise<IteratorResult<Message, undefined>> {
    this.#closed = true;
    this.#scope.abort();
    this.#scope.release();
    await this.#envelopes.return(undefined).catch(() => {});
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async *#read(query: InboxQuery): AsyncGenerator<Envelope> {
    for (let after = query.after; ; ) {
      const wanted = { ...query, after, wait_s: WAIT_S };
      const page = await this.#patiently("read", (options) =>
        inboxPage(this.#transport, this.#agent, wanted, options),
      );
      for (const envelope of page.messages) {
        after = envelope.seq;
        yield envelope;
      }
      after = page.next ?? after;
    }
  }

  async #ackLast(): Promise<void> {
    const through = this.#given;
    if (!this.#owed || through === undefined) return;
    await this.#patiently("acknowledged", (options) =>
      ackInbox(this.#transport, this.#agent, through, options),
    );
    this.#owed = false;
  }

  /** Repeats the work for as long as it takes. */
  async #patiently<T>(what: string, work: (options: CallOptions) => Promise<T>): Promise<T> {
    const backoff = new Backoff(FIRST_WAIT);
    const { signal } = this.#scope;
    for (let attempt = 1; ; attempt++) {
      try {
        return await work({ signal });
      } catch (error) {
        if (signal.aborted || !isTransient(error)) throw error;
        if (attempt === 1) this.#warn(`cannot be ${what} yet: ${(error as Error).message}`);
        await pause(error, backoff, signal);
      }
    }
  }

  #warn(text: string): void {
    this.#transport.settings.logger.warn(`agentbus: the inbox of ${this.#agent} ${text}`);
  }
}
