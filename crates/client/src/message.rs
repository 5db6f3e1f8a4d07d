//! A message as the server returns it.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A message (contract, section 1). A member that is missing gets its default: a message that another NATS
/// client published need not be an envelope.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// The message's sequence in the log.
    pub seq: u64,
    /// The message's id, a UUID.
    pub id: String,
    /// `message`, `status` or `task`.
    pub kind: String,
    /// The message's type, such as `task_assignment`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The NATS subject.
    pub subject: String,
    /// The sender.
    pub sender_id: String,
    /// The sender's role.
    pub sender_role: Option<String>,
    /// The recipient; `None` for a broadcast.
    pub recipient_id: Option<String>,
    /// The task that the message belongs to.
    pub task_id: Option<String>,
    /// The conversation that the message belongs to.
    pub conversation_id: Option<String>,
    /// The id of the message that this one replies to.
    pub in_reply_to: Option<String>,
    /// When the message expires (RFC 3339).
    pub expires_at: Option<String>,
    /// The content.
    pub content: String,
    /// A JSON object, with exactly the bytes that the sender wrote.
    pub metadata: Option<Box<RawValue>>,
    /// The id of the key that posted the message; `None` without one.
    pub key_id: Option<String>,
    /// When the server accepted the message (RFC 3339, microseconds).
    pub created_at: String,
}
