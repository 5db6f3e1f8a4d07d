// The documents of the wire (docs/api.md). Their members keep the names of the wire. A newer server may send more
// members: they stay in the object.

export type Kind = "message" | "status" | "task";
export type Priority = "high" | "normal" | "low";

/** A message as the server returns it. `Content` is the type of `content`: a string, unless a content type is set. */
export interface Envelope<Type extends string = string, Content = string> {
  /** The position in the log: the message's identity for readers. */
  seq: number;
  /** A UUID: the identity for retries. */
  id: string;
  kind: Kind;
  type: Type;
  subject: string;
  sender_id: string;
  sender_role?: string;
  /** Absent for a broadcast. */
  recipient_id?: string;
  task_id?: string;
  conversation_id?: string;
  /** The id of the message that this one answers. */
  in_reply_to?: string;
  /** RFC 3339. */
  expires_at?: string;
  content: Content;
  metadata: Record<string, unknown>;
  key_id?: string;
  /** RFC 3339 in UTC, with microseconds. */
  created_at: string;
}

export type Durability = "stored" | "committed";

/** The acknowledgement of a message. */
export interface Sent {
  seq: number;
  id: string;
  subject: string;
  created_at: string;
  /** The message was in the log already, under this id. */
  duplicate: boolean;
  /** `stored`: the bus has it. `committed`: the store has it too, synced to disk. */
  durability: Durability;
  /** How it breaks a schema whose mode is `warn`. */
  warnings?: Warning[];
}

/** What an accepted message does not keep to. */
export interface Warning {
  code: string;
  detail: string;
  errors?: Fault[];
}

/** One fault of a request: of its body (`pointer`, a JSON pointer) or of its query and headers (`parameter`). */
export interface Fault {
  pointer?: string;
  parameter?: string;
  detail: string;
}

/** An item of a batch that was accepted. */
export interface BatchAccepted {
  /** 201, or 200 for a repeat. */
  status: number;
  seq: number;
  id: string;
  duplicate: boolean;
  durability: Durability;
}

/** An item of a batch that was refused. */
export interface BatchRefused {
  status: number;
  error: { code: string; detail: string; errors?: Fault[]; id?: string; seq?: number; outcome?: string };
}

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

export interface InboxPosition {
  consumed_through: number;
  waiting: number;
}

export interface Agent {
  agent_id: string;
  role: string | null;
  status: string | null;
  since: string | null;
  last_seen: string;
  expires_at: string | null;
  inbox: InboxPosition;
}

export interface Task {
  task_id: string;
  state: "open" | "done";
  outcome: string | null;
  last_event: string | null;
  agents: string[];
  agent_count?: number;
  messages: number;
  late_events: number;
  first_seq: number;
  last_seq: number;
}

export interface QueueSettings {
  /** Seconds that a lease lasts. */
  lease_s?: number;
  /** Attempts of a job; after the last one it is a dead letter. */
  max_deliver?: number;
  /** Seconds between attempts; the last one repeats. */
  backoff_s?: number[];
}

export interface Queue extends Required<QueueSettings> {
  queue: string;
  waiting: number;
  leased: number;
  delayed: number;
  oldest_age_s: number | null;
  dead_letters: number;
}

export interface Enqueued {
  job_id: string;
  seq: number;
  duplicate?: boolean;
}

/** A leased job. */
export interface Job<Payload = unknown> {
  job_id: string;
  type: string;
  payload: Payload;
  priority: Priority;
  /** 1 for the first attempt. */
  attempt: number;
  enqueued_at: string;
  lease_token: string;
  lease_expires_at: string;
}

export interface Lease {
  lease_token: string;
  lease_expires_at: string;
}

export interface DeadLetter {
  id: string;
  kind: "message" | "job";
  source: string;
  seq: number;
  subject?: string;
  reason: string;
  attempts: { attempt: number; at: string; error: string }[];
  died_at: string;
  message?: Envelope;
  job?: Omit<Job, "attempt" | "lease_token" | "lease_expires_at">;
}

export interface Redriven {
  redriven: number;
  skipped?: number;
}

export interface Consumer {
  name: string;
  kind: "processor" | "webhook";
  filter: string;
  state: "running" | "paused" | "unhandled";
  reason: string | null;
  pending: number;
  in_flight: number;
  redelivered: number;
  lag: { messages: number; seconds: number };
  processed_through: number;
  processed: number;
  failed: number;
  expired: number;
  max_deliver: number;
  dead_letters: number;
}

export interface Webhook {
  id: string;
  url: string;
  filter: string;
  state: "active" | "paused";
  reason: string | null;
  created_at: string;
  failures: number;
  failing_since: string | null;
  last_success: string | null;
  last_error: string | null;
}

/** A version of the schema of a type. The newest counts. */
export interface Schema {
  kind: Kind;
  type: string;
  /** From 1 on. */
  version: number;
  mode: "off" | "warn" | "enforce";
  content: "text" | "json";
  /** JSON Schema 2020-12 for `{content, metadata}`; absent in lists of all types. */
  schema?: Record<string, unknown> | boolean;
  created_at: string;
  created_by?: string | null;
}

export type Capability =
  | "observe"
  | "process"
  | "webhooks"
  | "dead_letters"
  | "import"
  | "erase"
  | "schemas"
  | "claims"
  | "keys";

/** What a key may do. A list that is absent grants nothing. */
export interface Grants {
  as?: string[];
  publish?: string[];
  read?: string[];
  enqueue?: string[];
  work?: string[];
  can?: Capability[];
}

export interface KeyLimits {
  requests_per_s?: number;
  messages_per_s?: number;
  bytes_per_day?: number;
  streams?: number;
}

export type KeyKind = "agent" | "human" | "service";

export interface Key {
  id: string;
  name: string;
  kind: KeyKind;
  grants: Grants;
  limits?: KeyLimits;
  expires_at?: string | null;
  created_at?: string;
  last_used_at?: string | null;
}

export interface Ticket {
  ticket: string;
  expires_at: string;
}

export interface AuditEntry {
  [member: string]: unknown;
}

export interface Status {
  name: string;
  version: string;
  bus: string;
  store: string;
  uptime_s: number;
  ready: boolean;
  degraded: boolean;
  draining: boolean;
  parts: Record<string, { ok: boolean; detail?: string }>;
}

export interface Stats {
  counts: Record<"by_kind" | "by_type" | "by_sender", Record<string, number>> & {
    types?: number;
    senders?: number;
  };
  log: { first: number | null; last: number };
  projector: { committed_through: number; lag: number };
  streams_open: number;
  filter_groups: number;
  queue: { total_enqueued: number; total_dequeued: number; current_size: number };
  pool: { processed_count: number; error_count: number; total_duration: number };
}
