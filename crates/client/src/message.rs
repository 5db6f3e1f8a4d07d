//! A message as it is read.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A message (contract, section 1). A member that is missing has its default: the payload of a foreign publisher
/// need not be an envelope.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Its sequence in the log.
    pub seq: u64,
    /// Its id, a UUID.
    pub id: String,
    /// `message`, `status` or `task`.
    pub kind: String,
    /// Its type, such as `task_assignment`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The NATS subject.
    pub subject: String,
    /// The sender.
    pub sender_id: String,
    /// The sender's role.
    pub sender_role: Option<String>,
    /// The recipient; `None` is a broadcast.
    pub recipient_id: Option<String>,
    /// Its task.
    pub task_id: Option<String>,
    /// Its conversation.
    pub conversation_id: Option<String>,
    /// Id of the message that it answers.
    pub in_reply_to: Option<String>,
    /// When it expires (RFC 3339).
    pub expires_at: Option<String>,
    /// The content.
    pub content: String,
    /// A JSON object, in the bytes of its sender.
    pub metadata: Option<Box<RawValue>>,
    /// When the server accepted it (RFC 3339, microseconds).
    pub created_at: String,
}
