// The client: one method for each thing that agents do. It holds no connection of its own.

import { ask } from "./ask.js";
import { postBatch } from "./batch.js";
import type { ContentType } from "./content.js";
import type { Start } from "./cursor.js";
import {
  ackInbox,
  Inbox,
  type InboxOptions,
  type InboxPage,
  type InboxPageQuery,
  type InboxQuery,
  inboxPage,
} from "./inbox.js";
import { Leases } from "./leases.js";
import {
  type Contents,
  filterQuery,
  type Message,
  Messages,
  type MessageTypes,
  type Outgoing,
  type OutgoingItem,
  type TypeOf,
} from "./message.js";
import { pages } from "./pages.js";
import { Consumers } from "./resources/consumers.js";
import { DeadLetters } from "./resources/dead_letters.js";
import { Keys } from "./resources/keys.js";
import { Queues } from "./resources/queues.js";
import { Schemas } from "./resources/schemas.js";
import { Webhooks } from "./resources/webhooks.js";
import { resolve, type Settings } from "./settings.js";
import { MessageStream, type StreamOptions } from "./stream.js";
import { type CallOptions, path, Transport } from "./transport.js";
import type {
  Agent,
  BatchResult,
  Durability,
  Enqueued,
  Envelope,
  Filters,
  InboxPosition,
  Me,
  Priority,
  Sent,
  Stats,
  Status,
  Task,
  Ticket,
} from "./types.js";
import { uuidV7 } from "./uuid.js";
import { versionWarning } from "./version.js";
import { type JobHandler, Worker, type WorkerOptions } from "./worker.js";

export interface SendOptions extends CallOptions {
  /** `committed` waits up to 5 s until the store has the message; `stored`, the default, does not. */
  ack?: Durability | undefined;
  /** Instead of an id: the server makes one from the sender and this key. */
  idempotencyKey?: string | undefined;
}

export interface HistoryQuery<Type extends string = string> extends Filters<Type> {
  /** Only sequences above this one. */
  after?: number | undefined;
  /** Only sequences below this one. */
  before?: number | undefined;
  order?: "asc" | "desc" | undefined;
  /** Only messages created at this time or later: a `Date` or RFC 3339. */
  since?: Date | string | undefined;
  /** Only messages created at this time or earlier: a `Date` or RFC 3339. */
  until?: Date | string | undefined;
  /** Only messages that these two agents sent to each other. */
  between?: readonly [string, string] | undefined;
  /** Only messages whose content contains this text, in the same case. 1 to 1,024 characters. */
  contains?: string | undefined;
  /** Messages of a request, 1 to 1,000; by default 100. */
  limit?: number | undefined;
}

export interface JobOptions {
  priority?: Priority | undefined;
  /** Seconds until the job may be leased. */
  delay_s?: number | undefined;
  /** A UUID: the same id and content is one job. By default a new one. */
  id?: string | undefined;
}

/** An item of `enqueueMany`. */
export interface NewJob extends JobOptions {
  type: string;
  /** Any JSON value. */
  payload: unknown;
}

export interface AgentbusOptions extends Settings {
  /** The server's version is not looked up. */
  ignoreVersion?: boolean | undefined;
}

// Types whose content is not text have to be declared to the client too.
type ContentsOption<M extends MessageTypes> =
  string extends TypeOf<M>
    ? { contents?: Record<string, ContentType<unknown>> | undefined }
    : Record<never, never> extends Contents<M>
      ? { contents?: Contents<M> | undefined }
      : { contents: Contents<M> };

type OptionsArguments<M extends MessageTypes> =
  Record<never, never> extends ContentsOption<M>
    ? [options?: AgentbusOptions & ContentsOption<M>]
    : [options: AgentbusOptions & ContentsOption<M>];

export class Agentbus<M extends MessageTypes = Record<string, string>> implements AsyncDisposable {
  readonly queues: Queues;
  readonly leases: Leases;
  readonly deadLetters: DeadLetters;
  readonly consumers: Consumers;
  readonly webhooks: Webhooks;
  readonly keys: Keys;
  readonly schemas: Schemas;
  readonly #transport: Transport;
  readonly #messages: Messages;
  readonly #closing = new AbortController();

  constructor(...[options = {} as AgentbusOptions & ContentsOption<M>]: OptionsArguments<M>) {
    const transport = new Transport(resolve(options), this.#closing.signal);
    if (!options.ignoreVersion) transport.onReached = () => void this.#compareVersions();
    this.#transport = transport;
    const contents: Record<string, ContentType<unknown>> = { ...options.contents };
    this.#messages = new Messages(options.agent, contents);
    this.queues = new Queues(transport);
    this.leases = new Leases(transport);
    this.deadLetters = new DeadLetters(transport);
    this.consumers = new Consumers(transport);
    this.webhooks = new Webhooks(transport);
    this.keys = new Keys(transport);
    this.schemas = new Schemas(transport);
  }

  /** Ends all calls, streams and inboxes of this client. Stop workers first. */
  close(): void {
    this.#closing.abort(new DOMException("the client is closed", "AbortError"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Sends a message. It has an id, so it is repeated after a failure and is one message all the same. */
  async send<T extends TypeOf<M>>(
    type: T,
    ...[message, options = {}]: string extends M[T]
      ? [message?: Outgoing<M[T]>, options?: SendOptions]
      : [message: Outgoing<M[T]>, options?: SendOptions]
  ): Promise<Sent> {
    const { ack, idempotencyKey, signal } = options;
    const body = await this.#messages.body(type, message ?? {}, idempotencyKey === undefined);
    const headers: Record<string, string> =
      idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey };
    const call = { method: "POST", path: "/v1/messages", query: { ack }, body, headers } as const;
    return this.#transport.json({ ...call, repeatable: true, signal });
  }

  /** Sends many messages in few requests. One result for each, in order; a refused one does not affect the others. */
  sendMany(
    messages: Iterable<OutgoingItem<M>> | AsyncIterable<OutgoingItem<M>>,
    { ack, signal }: Omit<SendOptions, "idempotencyKey"> = {},
  ): Promise<BatchResult[]> {
    const bodies = mapped(messages, ({ type, ...message }) => this.#messages.body(type, message));
    return postBatch(this.#transport, "/v1/messages/batch", bodies, { ack }, { signal });
  }

  /**
   * Messages as they come, from `since` or `from` on, through restarts and lost connections: each once and in order.
   * A `Gap` stands for messages that are not kept any more.
   */
  stream<T extends TypeOf<M> = TypeOf<M>>(
    query: Filters<T> & Start = {},
    options: StreamOptions = {},
  ): MessageStream<Message<Pick<M, T>>> {
    const decode = (text: string) => this.#messages.parsed<Pick<M, T>>(text);
    return new MessageStream(this.#transport, filterQuery(query), query, decode, options);
  }

  /** Messages that are kept, page by page. */
  async *history<T extends TypeOf<M> = TypeOf<M>>(
    query: HistoryQuery<T> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Message<Pick<M, T>>, void, undefined> {
    const { after, before, order, since, until, between, contains, limit } = query;
    const bounds = {
      after,
      before,
      order,
      since: time(since),
      until: time(until),
      between: between?.join(),
      contains,
      limit,
    };
    const passOn = order === "desc" ? "before" : "after";
    const all = { ...filterQuery(query), ...bounds };
    const found = pages<"messages", Envelope>(
      this.#transport,
      "/v1/messages",
      "messages",
      all,
      options,
      passOn,
    );
    for await (const envelope of found) yield await this.#messages.received<Pick<M, T>>(envelope);
  }

  /** One message by its id. */
  async message(id: string, options: CallOptions = {}): Promise<Message<M>> {
    const call = { method: "GET", path: path("/v1/messages", id), ...options } as const;
    return this.#messages.received(await this.#transport.json<Envelope>(call));
  }

  /** Erases what the messages with this id said, everywhere and for good. Gives the sequence of the first. */
  async erase(id: string, reason: string, options: CallOptions = {}): Promise<number> {
    const call = {
      method: "POST",
      path: path("/v1/messages", id, "erase"),
      body: { reason },
      ...options,
    } as const;
    return (await this.#transport.json<{ seq: number }>(call)).seq;
  }

  /**
   * The messages for an agent, by default the client's own, as they come. A message is acknowledged when the loop asks
   * for the next one.
   */
  inbox(agent?: string, query: InboxQuery = {}, options: InboxOptions = {}): Inbox<Message<M>> {
    const owner = agent ?? this.#transport.settings.agent;
    if (owner === undefined)
      throw new TypeError("whose inbox? Name the agent here or in the client's settings");
    const decode = (envelope: Envelope) => this.#messages.received<M>(envelope);
    return new Inbox(this.#transport, owner, query, decode, options);
  }

  /** One page of an inbox, without an acknowledgement. */
  async inboxPage(
    agent: string,
    query: InboxPageQuery = {},
    options: CallOptions = {},
  ): Promise<InboxPage<Message<M>>> {
    const page = await inboxPage(this.#transport, agent, query, options);
    return {
      ...page,
      messages: await Promise.all(page.messages.map((one) => this.#messages.received<M>(one))),
    };
  }

  /** Everything through this sequence is consumed. */
  ackInbox(agent: string, through: number, options: CallOptions = {}): Promise<InboxPosition> {
    return ackInbox(this.#transport, agent, through, options);
  }

  /**
   * Sends a message and waits for the answer, for `reply_within` seconds; 30 by default. Throws a `NoReplyError` when none
   * comes; the question stays in the log.
   */
  async ask<T extends TypeOf<M>>(
    type: T,
    question: Outgoing<M[T]> & { reply_within?: number | undefined },
    options: CallOptions = {},
  ): Promise<Message<M>> {
    const { reply_within = 30, ...message } = question;
    const body = await this.#messages.body(type, message);
    return this.#messages.received<M>(await ask(this.#transport, body, reply_within, options));
  }

  /** Answers a message: to its sender, in its task and conversation. The type is `answer` by default. */
  answer<T extends TypeOf<M>>(
    question: Envelope<string, unknown>,
    answer: Outgoing<M[T]> & { type?: T },
    options: SendOptions = {},
  ): Promise<Sent> {
    const { type = "answer" as T, ...message } = answer;
    const outgoing = {
      to: question.sender_id,
      task: question.task_id,
      conversation: question.conversation_id,
      in_reply_to: question.id,
      ...message,
    };
    return (this as Agentbus<MessageTypes>).send(type, outgoing, options);
  }

  /** Puts a job into a queue, and creates the queue if there is none. The payload is any JSON value. */
  enqueue(
    queue: string,
    type: string,
    payload: unknown,
    { id = uuidV7(), ...job }: JobOptions = {},
    options: CallOptions = {},
  ): Promise<Enqueued> {
    const body = { id, type, payload, ...job };
    const call = { method: "POST", path: path("/v1/queues", queue, "jobs"), body } as const;
    return this.#transport.json({ ...call, repeatable: true, ...options });
  }

  /** Puts many jobs into a queue. One result for each, in order. */
  enqueueMany(
    queue: string,
    jobs: Iterable<NewJob> | AsyncIterable<NewJob>,
    options: CallOptions = {},
  ): Promise<BatchResult<Enqueued & { status: number }>[]> {
    const bodies = mapped(jobs, ({ id = uuidV7(), ...job }) => ({ id, ...job }));
    return postBatch(this.#transport, path("/v1/queues", queue, "jobs", "batch"), bodies, {}, options);
  }

  /** A worker on a queue. It begins with `run`. */
  worker<Payload = unknown>(
    queue: string,
    handler: JobHandler<Payload>,
    options: WorkerOptions<Payload> = {},
  ): Worker<Payload> {
    const { settings, closed } = this.#transport;
    const surroundings = { leases: this.leases, logger: settings.logger, closed };
    return new Worker(queue, handler, { worker: settings.agent, ...options }, surroundings);
  }

  /** All agents: the senders of statuses and messages. */
  agents(options: CallOptions = {}): AsyncGenerator<Agent, void, undefined> {
    return pages(this.#transport, "/v1/agents", "agents", {}, options);
  }

  /** One agent, exact at the sequence `as_of`. */
  agent(id: string, options: CallOptions = {}): Promise<Agent & { as_of: number }> {
    return this.#transport.json({ method: "GET", path: path("/v1/agents", id), ...options });
  }

  /** All tasks, or those in one state. */
  tasks(
    query: { state?: Task["state"] } = {},
    options: CallOptions = {},
  ): AsyncGenerator<Task, void, undefined> {
    return pages(this.#transport, "/v1/tasks", "tasks", { ...query }, options);
  }

  /** One task, exact at the sequence `as_of`. */
  task(id: string, options: CallOptions = {}): Promise<Task & { as_of: number }> {
    return this.#transport.json({ method: "GET", path: path("/v1/tasks", id), ...options });
  }

  /** Who the key is, and what it may do. */
  me(options: CallOptions = {}): Promise<Me> {
    return this.#transport.json({ method: "GET", path: "/v1/me", ...options });
  }

  /** What runs there, and its health. */
  status(options: CallOptions = {}): Promise<Status> {
    return this.#transport.json({ method: "GET", path: "/v1/status", ...options });
  }

  /** Counters, of one task or of everything. */
  stats(query: { task?: string } = {}, options: CallOptions = {}): Promise<Stats> {
    return this.#transport.json({ method: "GET", path: "/v1/stats", query, ...options });
  }

  /** A ticket for another origin's `EventSource`: `/v1/stream?ticket=…`, with these filters and no others. */
  createTicket(
    { ttl_s, ...filters }: Filters & { ttl_s?: number } = {},
    options: CallOptions = {},
  ): Promise<Ticket> {
    const lists = Object.entries(filters).map(([name, value]) => [
      name,
      name === "broadcast" || Array.isArray(value) || value === undefined ? value : [value],
    ]);
    const body = { ...Object.fromEntries(lists), ttl_s };
    return this.#transport.json({ method: "POST", path: "/v1/tickets", body, ...options });
  }

  /** In a browser: exchanges the key for a cookie of 12 hours, for clients with `credentials` and without a key. */
  async createSession(options: CallOptions = {}): Promise<void> {
    await this.#transport.call({ method: "POST", path: "/v1/session", ...options });
  }

  /** Ends the session of the cookie, on every server. */
  async endSession(options: CallOptions = {}): Promise<void> {
    await this.#transport.call({ method: "DELETE", path: "/v1/session", ...options });
  }

  async #compareVersions(): Promise<void> {
    try {
      // Once: a repeat in the background would hold up the end of the program.
      const call = { method: "GET", path: "/v1/status", repeatable: false } as const;
      const { version } = await this.#transport.json<Status>(call);
      const warning = versionWarning(version);
      if (warning !== undefined) this.#transport.settings.logger.warn(warning);
    } catch {
      // Not every key may see the version, and what matters fails by itself.
    }
  }
}

async function* mapped<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  map: (item: Item) => Result,
): AsyncGenerator<Awaited<Result>> {
  for await (const item of items) yield await map(item);
}

function time(value: Date | string | undefined): string | undefined {
  return value instanceof Date ? value.toISOString() : value;
}
