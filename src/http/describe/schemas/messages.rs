//! Messages, receipts, batches, history (contract, sections 1, 3, 9).

use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::base::{Durability, Name, Sequence, Time};
use super::problem::{Failure, RejectedItem};

/// What a message is about: a `message` to read, the `status` of its sender, or an event of a `task`.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Kind {
    Message,
    Status,
    Task,
}

/// A message to publish. Other members are refused: extras belong in `metadata`. A `task` needs `task_id`.
#[derive(ToSchema)]
#[schema(example = json!({
    "kind": "message", "type": "question", "sender_id": "ann", "recipient_id": "bob", "content": "Which port?"
}))]
pub struct NewMessage {
    /// The identity of the message: a repeat with the same id and body is the same message. Without it the server makes
    /// one.
    #[schema(required = false)]
    id: Uuid,
    kind: Kind,
    r#type: Name,
    /// The agent that sends it. A key with exactly one name in `as` may leave it out.
    #[schema(required = false)]
    sender_id: Name,
    /// The role of the sender. The default for kind `message` is `agent`.
    #[schema(required = false)]
    sender_role: Name,
    /// The agent that it is for. Without it the message is a broadcast.
    #[schema(required = false)]
    recipient_id: Name,
    #[schema(required = false)]
    task_id: Name,
    #[schema(required = false)]
    conversation_id: Name,
    /// The id of the message that this one answers.
    #[schema(required = false)]
    in_reply_to: Uuid,
    /// When inboxes and processing begin to skip it: RFC 3339.
    #[schema(required = false, value_type = String, format = DateTime)]
    expires_at: String,
    /// The text; may be empty. U+0000 is refused.
    #[schema(required = false)]
    content: String,
    /// Anything else, nested at most 32 deep. A status may have `ttl_s`, from 1 to 86,400: when its sender counts as
    /// offline.
    #[schema(required = false)]
    metadata: Map<String, Value>,
}

/// A message as it is kept. Messages of other NATS clients and newer servers may have more members.
#[derive(ToSchema)]
#[schema(example = json!({
    "seq": 1042, "id": "01a1f9ed-488c-76fa-ba44-b7f5bdc54058", "kind": "message", "type": "question",
    "subject": "agent.message.agent.question", "sender_id": "ann", "sender_role": "agent", "recipient_id": "bob",
    "content": "Which port?", "metadata": {}, "created_at": "2026-11-20T17:07:19.820013Z"
}))]
pub struct Message {
    seq: Sequence,
    id: Uuid,
    kind: Kind,
    r#type: Name,
    /// The subject that it was published on, such as `agent.task.t1.completed`.
    subject: String,
    sender_id: Name,
    #[schema(required = false)]
    sender_role: Name,
    #[schema(required = false)]
    recipient_id: Name,
    #[schema(required = false)]
    task_id: Name,
    #[schema(required = false)]
    conversation_id: Name,
    #[schema(required = false)]
    in_reply_to: Uuid,
    #[schema(required = false, value_type = String, format = DateTime)]
    expires_at: String,
    content: String,
    metadata: Map<String, Value>,
    /// The id of the key that posted it. Absent if it was posted without a key.
    #[schema(required = false)]
    key_id: String,
    created_at: Time,
}

/// The server has the message.
#[derive(ToSchema)]
pub struct Receipt {
    seq: Sequence,
    id: Uuid,
    subject: String,
    created_at: Time,
    /// Whether the message was there already.
    duplicate: bool,
    durability: Durability,
    /// What is wrong with it, if that is not enforced.
    #[schema(required = false)]
    warnings: Vec<Failure>,
}

/// Why a message is erased.
#[derive(ToSchema)]
pub struct ErasureReason {
    /// For the audit log; not part of the message.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// A message that is erased.
#[derive(ToSchema)]
pub struct ErasedMessage {
    seq: Sequence,
}

/// A message and the first reply to it.
#[derive(ToSchema)]
pub struct Exchange {
    request: Message,
    reply: Message,
}

one_of! {
    /// The receipt of a message that was there already; with `reply_within`, the message and its reply.
    RepeatOrReply: Receipt, Exchange
}

/// One result for each message, in the order of the messages.
#[derive(ToSchema)]
pub struct BatchResults {
    accepted: u64,
    rejected: u64,
    results: Vec<ItemResult>,
}

one_of! {
    /// The result of one message.
    ItemResult: AcceptedItem, RejectedItem
}

/// A message that the server has.
#[derive(ToSchema)]
pub struct AcceptedItem {
    /// 201, or 200 if the message was there already.
    #[schema(minimum = 200, maximum = 299)]
    status: u16,
    seq: Sequence,
    id: Uuid,
    duplicate: bool,
    durability: Durability,
    /// What is wrong with it, if that is not enforced.
    #[schema(required = false)]
    warnings: Vec<Failure>,
}

/// A page of messages in order.
#[derive(ToSchema)]
pub struct MessagePage {
    messages: Vec<Message>,
    /// The `after` of the next page (`before` when descending). Null on the last page.
    #[schema(required = true)]
    next: Option<Sequence>,
    /// The store has all messages up to here.
    committed_through: Sequence,
}
