// The documents of the wire, by the names that this client gives them. Their members keep the names of the wire, and
// what the server says about them is in openapi.ts. A newer server may send more members: they stay in the object.

import type { components } from "./openapi.js";

type Documents = components["schemas"];

/** The members that are known by name. */
type Known<Document> = {
  [Name in keyof Document as string extends Name ? never : Name]: Document[Name];
};

export type Kind = Documents["Kind"];
export type Priority = Documents["Priority"];
export type Durability = Documents["Durability"];

/** A message as the server returns it. `Content` is the type of `content`: a string, unless a content type is set. */
export type Envelope<Type extends string = string, Content = string> = Omit<
  Known<Documents["Message"]>,
  "type" | "content"
> & { type: Type; content: Content };

/** The acknowledgement of a message. */
export type Sent = Documents["Receipt"];

/** One fault of a request: of its body (`pointer`, a JSON pointer) or of its query and headers (`parameter`). */
export type Fault = Documents["InvalidPart"];

/** An item of a batch that was accepted. */
export type BatchAccepted = Documents["AcceptedItem"];

/** An item of a batch that was refused. */
export type BatchRefused = Documents["RejectedItem"];

export type BatchResult<Accepted = BatchAccepted> = Accepted | BatchRefused;

/** Filters of history and streams. Values of one name are alternatives; different names must all hold. */
export interface Filters<Type extends string = string> {
  /** A pattern with NATS wildcards, such as `agent.task.*.completed`. */
  subject?: string | string[];
  kind?: Kind | Kind[];
  type?: Type | Type[];
  sender?: string | string[];
  recipient?: string | string[];
  task?: string | string[];
  conversation?: string | string[];
  in_reply_to?: string | string[];
  /** With `recipient`: also messages without a recipient. */
  broadcast?: boolean;
}

export type InboxPosition = Documents["InboxState"];

export type Agent = Documents["Agent"];
export type Task = Documents["Task"];

export type QueueSettings = Documents["QueueRules"];
export type Queue = Documents["Queue"];
export type Enqueued = Documents["JobReceipt"];

/** A leased job. */
export type Job<Payload = unknown> = Omit<Documents["LeasedJob"], "payload"> & { payload: Payload };

/** A lease that was extended. */
export type Lease = Required<Documents["SettledLease"]>;

export type DeadLetter = Documents["DeadLetter"];
export type Redriven = Documents["Redriven"];
export type Consumer = Documents["Consumer"];

export type NewWebhook = Documents["NewWebhook"];
export type Webhook = Documents["Webhook"];

export type Capability = Documents["Capability"];
export type Grants = Documents["Grants"];
export type KeyKind = Documents["KeyKind"];
export type KeyLimits = Documents["KeyLimits"];
export type Key = Documents["Key"];
export type NewKey = Documents["NewKey"];
export type KeyChange = Documents["KeyChange"];
export type AuditEntry = Documents["AuditEntry"];
export type Me = Documents["Me"];

export type NewSchema = Documents["NewPayloadSchema"];

/** A version of the schema of a type. The newest counts. */
export type Schema = Documents["PayloadSchema"];

export type Ticket = Documents["Ticket"];
export type Status = Documents["Status"];
export type Stats = Documents["Stats"];
