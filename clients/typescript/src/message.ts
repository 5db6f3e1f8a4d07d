// Messages as this client takes and gives them: short names to send by, content of the type that was declared.

import { type ContentType, decode, encode } from "./content.js";
import { ConnectionError } from "./errors.js";
import type { Query } from "./transport.js";
import type { Envelope, Filters, Kind } from "./types.js";
import { uuidV7 } from "./uuid.js";

/** A type of content for each type of message: `interface Messages { verdict: { good: boolean }; note: string }`. */
// biome-ignore lint/suspicious/noExplicitAny: an interface without an index signature extends only this.
export type MessageTypes = Record<string, any>;

export type TypeOf<M extends MessageTypes> = keyof M & string;

/** A message of one of the declared types. */
export type Message<M extends MessageTypes = Record<string, string>> = {
  [Type in TypeOf<M>]: Envelope<Type, M[Type]>;
}[TypeOf<M>];

/** How the content of each type is read. Types that are not named have text; what is not a string must be named. */
export type Contents<M extends MessageTypes> = {
  [Type in TypeOf<M> as M[Type] extends string ? never : Type]: ContentType<M[Type]>;
} & {
  [Type in TypeOf<M> as M[Type] extends string ? Type : never]?: ContentType<M[Type]>;
};

interface Members {
  /** `message` by default. */
  kind?: Kind | undefined;
  /** `sender_id`; by default the client's `agent`. Not needed with a key for one name alone. */
  sender?: string | undefined;
  /** `sender_role`. */
  role?: string | undefined;
  /** `recipient_id`; without one the message is a broadcast. */
  to?: string | undefined;
  /** `task_id`; required for kind `task`. */
  task?: string | undefined;
  /** `conversation_id`. */
  conversation?: string | undefined;
  /** The id of the message that this one answers. */
  in_reply_to?: string | undefined;
  /** After this time inboxes skip the message: a `Date` or RFC 3339. */
  expires_at?: string | Date | undefined;
  metadata?: Record<string, unknown> | undefined;
  /** A UUID: the same id and body is one message, however often it is sent. By default a new one. */
  id?: string | undefined;
}

/** What a message is sent with, besides its type. */
export type Outgoing<Content = string> = Members &
  (string extends Content ? { content?: Content | undefined } : { content: Content });

/** An item of `sendMany`. */
export type OutgoingItem<M extends MessageTypes> = {
  [Type in TypeOf<M>]: { type: Type } & Outgoing<M[Type]>;
}[TypeOf<M>];

/** Translates between this client's messages and those of the wire. */
export class Messages {
  readonly #agent: string | undefined;
  readonly #contents: Record<string, ContentType<unknown> | undefined>;

  constructor(agent: string | undefined, contents: Record<string, ContentType<unknown> | undefined>) {
    this.#agent = agent;
    this.#contents = contents;
  }

  /** The body to post. It has an id, so that it may be posted again. */
  async body(type: string, message: Outgoing<unknown>, withId = true): Promise<Record<string, unknown>> {
    const {
      kind = "message",
      sender,
      role,
      to,
      task,
      conversation,
      in_reply_to,
      expires_at,
      metadata,
      id,
    } = message;
    return {
      id: id ?? (withId ? uuidV7() : undefined),
      kind,
      type,
      sender_id: sender ?? this.#agent,
      sender_role: role,
      recipient_id: to,
      task_id: task,
      conversation_id: conversation,
      in_reply_to,
      expires_at: expires_at instanceof Date ? expires_at.toISOString() : expires_at,
      content: await encode(this.#type(type), type, message.content),
      metadata,
    };
  }

  #type(name: string): ContentType<unknown> | undefined {
    return Object.hasOwn(this.#contents, name) ? this.#contents[name] : undefined;
  }

  /** A message of the wire, with its content decoded. */
  async received<M extends MessageTypes>(envelope: Envelope): Promise<Message<M>> {
    const type = this.#type(envelope.type);
    if (type === undefined) return envelope as Message<M>;
    const content = await decode(type, envelope.type, envelope.content, envelope);
    return { ...envelope, content } as Message<M>;
  }

  /** A message of a stream's event. */
  async parsed<M extends MessageTypes>(text: string): Promise<Message<M>> {
    let envelope: Envelope;
    try {
      envelope = JSON.parse(text);
    } catch (cause) {
      throw new ConnectionError("a message of the stream is not JSON", { cause });
    }
    return this.received(envelope);
  }
}

/** The query of filters. */
export function filterQuery(filters: Filters): Query {
  const { subject, kind, type, sender, recipient, task, conversation, in_reply_to, broadcast } = filters;
  return { subject, kind, type, sender, recipient, task, conversation, in_reply_to, broadcast };
}
