//! Keys, sessions, tickets, the audit log (contract, section 11).

use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::base::{Name, Sequence, Time};
use super::messages::Kind;
use crate::access::{Capability, KeyKind};

/// What a key may do. An absent list allows nothing.
#[derive(ToSchema)]
#[schema(example = json!({"as": ["ann"], "publish": ["agent.task.>"], "read": ["agent.task.t1.>"]}))]
pub struct Grants {
    /// Sender ids that it may write as, and whose inboxes it may read and ack. `*` is any.
    #[schema(required = false)]
    r#as: Vec<NameOrAny>,
    /// Subjects that it may publish on.
    #[schema(required = false)]
    publish: Vec<SubjectPattern>,
    /// Subjects that it may read, live and in history.
    #[schema(required = false)]
    read: Vec<SubjectPattern>,
    /// Queues that it may put jobs into. `*` is any.
    #[schema(required = false)]
    enqueue: Vec<NameOrAny>,
    /// Queues that it may lease jobs from. `*` is any.
    #[schema(required = false)]
    work: Vec<NameOrAny>,
    #[schema(required = false)]
    can: Vec<Capability>,
}

/// A name, or `*` for any.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^([A-Za-z0-9_-]{1,64}|\*)$")]
pub struct NameOrAny(String);

/// A subject in which `*` stands for one token and `>` for the rest.
#[derive(ToSchema)]
#[schema(
    value_type = String,
    pattern = r"^(([^\s\x00-\x1f\x7f-\x9f.*>]+|\*)\.)*([^\s\x00-\x1f\x7f-\x9f.*>]+|\*|>)$",
    max_length = 512,
    examples("agent.task.*.completed")
)]
pub struct SubjectPattern(String);

/// The most that a key may do, on each server. An absent member is no limit.
#[derive(ToSchema)]
pub struct KeyLimits {
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    requests_per_s: u32,
    /// Messages and jobs per second.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    messages_per_s: u32,
    /// Bytes of messages and jobs per day (UTC).
    #[schema(required = false, minimum = 1, maximum = 9_007_199_254_740_992_i64)]
    bytes_per_day: u64,
    /// Streams that are open at once.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    streams: u32,
}

/// A key to make. Its grants, limits and end lie within those of the key that makes it.
#[derive(ToSchema)]
#[schema(example = json!({"name": "ann", "grants": {"as": ["ann"], "publish": ["agent.message.>"]}}))]
pub struct NewKey {
    /// For people.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    grants: Grants,
    /// The default is `agent`.
    #[schema(required = false)]
    kind: KeyKind,
    #[schema(required = false)]
    limits: KeyLimits,
    /// When the key expires. Without it, never.
    #[schema(required = false, value_type = String, format = DateTime)]
    expires_at: String,
}

/// What to change in a key. An absent member stays as it is.
#[derive(ToSchema)]
pub struct KeyChange {
    #[schema(required = false, min_length = 1, max_length = 128)]
    name: String,
    #[schema(required = false)]
    grants: Grants,
    #[schema(required = false)]
    limits: KeyLimits,
    /// When the key expires. Null: never.
    #[schema(required = false, value_type = Option<String>, format = DateTime)]
    expires_at: Option<String>,
}

/// A key. Its secret is not shown.
#[derive(ToSchema)]
pub struct Key {
    id: String,
    /// The key itself, only in the response that made it.
    #[schema(required = false)]
    key: String,
    name: String,
    kind: KeyKind,
    grants: Grants,
    limits: KeyLimits,
    created_at: Time,
    /// The id of the key that made it. Null if none did.
    #[schema(required = true)]
    created_by: Option<String>,
    #[schema(required = true)]
    expires_at: Option<Time>,
    #[schema(required = true)]
    last_used_at: Option<Time>,
    /// Until when the replaced secret is accepted, during a rotation.
    #[schema(required = false)]
    old_secret_until: Time,
    /// Present and true if a restore has disabled the key: it opens nothing until it is enabled.
    #[schema(required = false)]
    disabled: bool,
}

/// All keys.
#[derive(ToSchema)]
pub struct KeyList {
    keys: Vec<Key>,
}

/// How to replace the secret of a key.
#[derive(ToSchema)]
pub struct Rotation {
    /// Seconds for which the replaced secret is still accepted. 0, the default, ends all older ones.
    #[schema(required = false, minimum = 0, maximum = 86400)]
    overlap_s: u32,
}

/// The new secret of a key. It is shown once.
#[derive(ToSchema)]
pub struct RotatedKey {
    id: String,
    key: String,
}

/// What the caller is and may do.
#[derive(ToSchema)]
pub struct Me {
    /// The id of the key. Null without one.
    #[schema(required = true)]
    id: Option<String>,
    name: String,
    #[schema(required = true)]
    kind: Option<KeyKind>,
    grants: Grants,
    limits: KeyLimits,
    #[schema(required = true)]
    expires_at: Option<Time>,
}

/// The filter of the streams that a ticket opens, and how long the ticket is valid.
#[derive(ToSchema)]
#[schema(example = json!({"task": ["t1"], "ttl_s": 60}))]
pub struct NewTicket {
    #[schema(required = false)]
    subject: Vec<SubjectPattern>,
    #[schema(required = false)]
    kind: Vec<Kind>,
    #[schema(required = false)]
    r#type: Vec<Name>,
    #[schema(required = false)]
    sender: Vec<Name>,
    #[schema(required = false)]
    recipient: Vec<Name>,
    #[schema(required = false)]
    task: Vec<Name>,
    #[schema(required = false)]
    conversation: Vec<Name>,
    #[schema(required = false)]
    in_reply_to: Vec<Uuid>,
    /// Whether `recipient` also matches broadcasts.
    #[schema(required = false)]
    broadcast: bool,
    /// Seconds until the ticket expires. The default is 60.
    #[schema(required = false, minimum = 1, maximum = 60)]
    ttl_s: u32,
}

/// A ticket for the URL of an `EventSource` on another origin.
#[derive(ToSchema)]
pub struct Ticket {
    #[schema(pattern = "^[A-Za-z0-9_-]+$")]
    ticket: String,
    expires_at: Time,
}

/// Who did it.
#[derive(ToSchema)]
pub struct Actor {
    /// The id of the key. Null without one.
    #[schema(required = true)]
    id: Option<String>,
    name: String,
}

/// An entry of the audit log.
#[derive(ToSchema)]
pub struct AuditEntry {
    seq: Sequence,
    at: Time,
    actor: Actor,
    /// What was done, such as `key.create`.
    action: String,
    /// What it was done to.
    target: String,
    #[schema(value_type = Value)]
    detail: Value,
    outcome: String,
}

/// A page of the audit log, oldest first.
#[derive(ToSchema)]
pub struct AuditPage {
    entries: Vec<AuditEntry>,
    /// The `after` of the next page. Null on the last page.
    #[schema(required = true)]
    next: Option<Sequence>,
}
