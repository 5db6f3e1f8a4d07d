//! Consumers, dead letters, webhooks (contract, section 10).

use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::base::{Sequence, Time};
use super::messages::Message;

/// A consumer: it delivers each message that its filter matches to its handlers.
#[derive(ToSchema)]
pub struct Consumer {
    name: String,
    kind: ConsumerKind,
    /// The subjects that it delivers.
    filter: String,
    state: ConsumerState,
    /// Why it is paused. Null if it is not.
    #[schema(required = true)]
    reason: Option<String>,
    /// Messages that are not processed yet.
    pending: u64,
    /// Messages whose handler runs.
    in_flight: u64,
    /// Deliveries after the first of a message.
    redelivered: u64,
    lag: Lag,
    processed_through: Sequence,
    /// Attempts until a message is a dead letter.
    max_deliver: u32,
    processed: u64,
    failed: u64,
    /// Messages that were skipped since they had expired.
    expired: u64,
    dead_letters: u64,
}

/// What a consumer is for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ConsumerKind {
    Processor,
    Webhook,
}

/// Whether a consumer runs.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ConsumerState {
    Running,
    Paused,
    /// No server of the deployment has a handler for it.
    Unhandled,
}

/// How far a consumer is behind.
#[derive(ToSchema)]
pub struct Lag {
    messages: u64,
    /// Seconds that the oldest of these messages has been in the log.
    seconds: f64,
}

/// All consumers, in order of their names.
#[derive(ToSchema)]
pub struct ConsumerList {
    consumers: Vec<Consumer>,
}

/// Why to pause a consumer.
#[derive(ToSchema)]
pub struct PauseRequest {
    #[schema(required = false, min_length = 1)]
    reason: String,
}

/// The new position of a consumer.
#[derive(ToSchema)]
pub struct ResetRequest {
    /// The first message to process.
    from: Sequence,
}

/// A body without members.
#[derive(ToSchema)]
pub struct Nothing {}

/// What a dead letter was.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DeadLetterKind {
    Message,
    Job,
}

/// A failed attempt.
#[derive(ToSchema)]
pub struct Attempt {
    /// Its number; the first is 1.
    attempt: u32,
    at: Time,
    error: String,
}

/// A message or job that could not be processed.
#[derive(ToSchema)]
pub struct DeadLetter {
    id: Uuid,
    kind: DeadLetterKind,
    /// The consumer or queue that it comes from.
    source: String,
    seq: Sequence,
    subject: String,
    /// Why it is a dead letter.
    reason: String,
    attempts: Vec<Attempt>,
    died_at: Time,
    /// The message, for kind `message`.
    #[schema(required = false)]
    message: Message,
    /// The job, for kind `job`.
    #[schema(required = false, value_type = Value)]
    job: Value,
}

/// A page of dead letters, in order of their ids.
#[derive(ToSchema)]
pub struct DeadLetterPage {
    dead_letters: Vec<DeadLetter>,
    /// The `after` of the next page. Null on the last page.
    #[schema(required = true)]
    next: Option<Uuid>,
}

/// The result of a redrive.
#[derive(ToSchema)]
pub struct Redriven {
    /// How many were returned to their source.
    redriven: u64,
    /// How many stay, since their source was deleted or refused them. Absent if none.
    #[schema(required = false)]
    skipped: u64,
}

/// A webhook to make.
#[derive(ToSchema)]
#[schema(example = json!({"url": "https://example.com/hook", "filter": "agent.task.*.completed"}))]
pub struct NewWebhook {
    /// An `http` or `https` address that is public, unless the server allows private ones.
    #[schema(pattern = "^https?://")]
    url: String,
    /// The subjects to deliver. Without it, all.
    #[schema(required = false, examples("agent.task.*.completed"))]
    filter: String,
    /// The secret that signs deliveries (Standard Webhooks): `whsec_` and 24 to 64 bytes in Base64. Without it the server makes
    /// one.
    #[schema(required = false, pattern = "^whsec_[A-Za-z0-9+/=]{32,88}$")]
    secret: String,
}

/// Whether a webhook delivers.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum WebhookState {
    Active,
    Paused,
}

/// How to change a webhook: exactly one member.
#[derive(ToSchema)]
#[schema(example = json!({"state": "paused"}))]
pub struct WebhookChange {
    #[schema(required = false)]
    state: WebhookState,
    #[schema(required = false)]
    paused: bool,
}

/// A webhook.
#[derive(ToSchema)]
pub struct Webhook {
    id: Uuid,
    url: String,
    filter: String,
    state: WebhookState,
    /// Why it is paused. Null if it is not.
    #[schema(required = true)]
    reason: Option<String>,
    created_at: Time,
    /// Failed deliveries since the last success.
    failures: u32,
    #[schema(required = true)]
    failing_since: Option<Time>,
    #[schema(required = true)]
    last_success: Option<Time>,
    #[schema(required = true)]
    last_error: Option<String>,
    /// Only in the response that made it.
    #[schema(required = false)]
    secret: String,
}

/// All webhooks, oldest first.
#[derive(ToSchema)]
pub struct WebhookList {
    webhooks: Vec<Webhook>,
}
