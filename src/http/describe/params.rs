//! The parameters of routes, as descriptions. [`params`](crate::http::params) parses them; `tests/it/describe` holds both
//! against each other.
#![expect(dead_code, reason = "only their descriptions are used")]

use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::schemas::{
    DeadLetterKind, Durability, Kind, LeaseAction, Name, Sequence, SubjectPattern, TaskState,
};

/// The filters of streams and history. Values of one name are alternatives; different names must all hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
pub struct Filters {
    /// NATS subject; `*` stands for one token, `>` for the rest.
    #[param(explode, required = false)]
    subject: Vec<SubjectPattern>,
    #[param(explode, required = false)]
    kind: Vec<Kind>,
    #[param(explode, required = false)]
    r#type: Vec<Name>,
    #[param(explode, required = false)]
    sender: Vec<Name>,
    #[param(explode, required = false)]
    recipient: Vec<Name>,
    #[param(explode, required = false)]
    task: Vec<Name>,
    #[param(explode, required = false)]
    conversation: Vec<Name>,
    /// Ids of the messages that are answered.
    #[param(explode, required = false)]
    in_reply_to: Vec<Uuid>,
    /// Whether `recipient` also matches messages without a recipient.
    #[param(required = false)]
    broadcast: bool,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Order {
    Asc,
    Desc,
}

/// The part of history to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryRange {
    /// Only messages after this sequence.
    #[param(required = false)]
    after: Sequence,
    /// Only messages before this sequence.
    #[param(required = false)]
    before: Sequence,
    /// The most messages of the page. The default is 100.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
    /// `asc` (the default) or `desc`.
    #[param(required = false, inline)]
    order: Order,
    /// Only messages made at this time or later (RFC 3339).
    #[param(required = false, value_type = String, format = DateTime)]
    since: String,
    /// Only messages made at this time or earlier (RFC 3339).
    #[param(required = false, value_type = String, format = DateTime)]
    until: String,
    /// Two agents: only messages that they sent to each other.
    #[param(
        required = false,
        pattern = "^[A-Za-z0-9_-]{1,64},[A-Za-z0-9_-]{1,64}$",
        example = "ann,bob"
    )]
    between: String,
    /// Only messages whose `content` contains this text, in the same case. One page looks at up to 10,000 messages that
    /// match the other parameters, so it can be short or empty and still have a `next`.
    #[param(required = false, min_length = 1, max_length = 1024)]
    contains: String,
}

/// Where a stream begins. `Last-Event-ID` wins over `from`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StreamStart {
    /// `now` (the default): only new messages. `start`: all messages that are kept. A sequence: that message and later ones.
    #[param(required = false, pattern = "^(now|start|[0-9]{1,15})$", example = "start")]
    from: String,
    /// Like the header `Last-Event-ID`.
    #[param(required = false)]
    last_event_id: Sequence,
    /// Like the header `Last-Event-ID`.
    #[param(required = false, rename = "lastEventId")]
    last_event_id_too: Sequence,
    /// A ticket of `POST /v1/tickets`, instead of a key and filters.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]+$")]
    ticket: String,
}

/// What a browser sends when it reconnects.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct LastEventId {
    /// Resume after this sequence: the `id` of the last event that was seen.
    #[param(required = false, rename = "Last-Event-ID")]
    last_event_id: Sequence,
}

/// How to publish one message.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PublishOptions {
    /// What to wait for: `stored` (the default), or `committed`, for up to 5 s.
    #[param(required = false)]
    ack: Durability,
    /// Seconds to wait for the first reply. The response has both messages then.
    #[param(required = false, minimum = 1, maximum = 60)]
    reply_within: u32,
}

/// A key that makes a repeat the same message.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// The `id` of the message derives from `sender_id` and this key. Not together with `id` in the body.
    #[param(required = false, rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: String,
}

/// How to publish a batch.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BatchOptions {
    /// What to wait for: `stored` (the default), or `committed`, for up to 5 s.
    #[param(required = false)]
    ack: Durability,
}

/// A page of what is ordered by name.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NamePage {
    /// Only items after this name.
    #[param(required = false)]
    after: Name,
    /// The most items of the page. The default is 100.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
}

/// Which tasks.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TaskFilter {
    #[param(required = false)]
    state: TaskState,
}

/// The part of an inbox to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InboxRange {
    /// Only messages after this sequence. Without it, after the last consumed one.
    #[param(required = false)]
    after: Sequence,
    /// The most messages of the page. The default is 100.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
    /// Seconds to wait for a message if there is none. The default is 0.
    #[param(required = false, minimum = 0, maximum = 60)]
    wait: u32,
    /// Whether to include messages without a recipient.
    #[param(required = false)]
    broadcast: bool,
}

/// Which dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeadLetterFilter {
    #[param(required = false)]
    kind: DeadLetterKind,
    /// The consumer or queue that they come from.
    #[param(required = false)]
    source: Name,
}

/// A page of dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeadLetterRange {
    /// Only dead letters after this id.
    #[param(required = false)]
    after: Uuid,
    /// The most dead letters of the page. The default is 100.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
}

/// A page of the audit log.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditRange {
    /// Only entries after this one.
    #[param(required = false)]
    after: Sequence,
    /// The most entries of the page. The default is 100.
    #[param(required = false, minimum = 1, maximum = 1000)]
    limit: u32,
}

/// What to count.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatsFilter {
    /// Only messages of this task.
    #[param(required = false)]
    task: Name,
}

/// How much of the readiness to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadinessOptions {
    /// Whether to list the parts. No value is `true`. Needs `can observe`.
    #[param(required = false, pattern = "^(true|1|false|0)?$", example = "true")]
    verbose: String,
}

/// How to delete a queue.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteOptions {
    /// Whether to delete also waiting and delayed jobs.
    #[param(required = false)]
    force: bool,
}

/// A message in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct MessageId {
    /// The id of the message.
    id: Uuid,
}

/// An agent in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AgentId {
    /// The name of the agent.
    id: Name,
}

/// A task in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TaskId {
    /// The name of the task.
    id: Name,
}

/// A queue in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct QueueName {
    /// The name of the queue.
    queue: Name,
}

/// A lease and an action in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct LeaseToken {
    /// The token of the lease.
    token: String,
    /// `ack`: the job is done. `nack`: the job is retried later. `extend`: the lease starts again. `fail`: the job
    /// is a dead letter now.
    action: LeaseAction,
}

/// A consumer in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ConsumerName {
    /// The name of the consumer.
    name: String,
}

/// A dead letter in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct DeadLetterId {
    /// The id of the dead letter.
    id: Uuid,
}

/// A webhook in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct WebhookId {
    /// The id of the webhook.
    id: Uuid,
}

/// A key in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct KeyId {
    /// The id of the key.
    id: String,
}

/// A kind and type of messages in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct KindAndType {
    /// The kind of the messages.
    kind: Kind,
    /// The type of the messages.
    r#type: Name,
}

/// Whether to put a schema.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SchemaCheck {
    /// Whether to store nothing, and count how many of the last 1,000 messages the schema would refuse.
    #[param(required = false)]
    check: bool,
}
