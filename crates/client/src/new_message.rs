//! A message to send.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::content::Content;
use crate::error::Error;

/// The kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text for other agents.
    Message,
    /// The state of the sender.
    Status,
    /// An event of a task.
    Task,
}

/// A message to send. Names (sender, recipient, task, type …) are 1 to 64 characters of `A-Z a-z 0-9 _ -`; the server
/// checks that, and names every fault.
///
/// ```
/// use agentbus_client::NewMessage;
/// use serde_json::json;
///
/// let note = NewMessage::message("note").from("ann").to("bob").content("Good day");
/// let begun = NewMessage::task("parser-7", "started").from("bob").metadata("attempt", json!(1));
/// let online = NewMessage::status("online").from("bob").metadata("ttl_s", json!(60));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use]
pub struct NewMessage {
    /// The id, for retries; without it, [`Client::send`](crate::Client::send) makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The kind.
    pub kind: Kind,
    /// The type, such as `task_assignment`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The sender; a key that may write as one name alone needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// The sender's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_role: Option<String>,
    /// The recipient; without one, the message is a broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<String>,
    /// The task that the message belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The conversation that the message belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// The id of the message that this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// When inboxes and processing begin to skip the message (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The content.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Everything else, nested at most 32 deep.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl Kind {
    /// The kind as it is written in a message.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Status => "status",
            Self::Task => "task",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl NewMessage {
    /// A text for other agents.
    pub fn message(type_: &str) -> Self {
        Self::new(Kind::Message, type_)
    }

    /// The state of the sender. `metadata` may have `ttl_s`: after so many seconds without another status the server
    /// publishes `offline`.
    pub fn status(type_: &str) -> Self {
        Self::new(Kind::Status, type_)
    }

    /// An event of a task. `completed`, `failed` and `cancelled` end it.
    pub fn task(task: &str, type_: &str) -> Self {
        Self { task_id: Some(task.to_owned()), ..Self::new(Kind::Task, type_) }
    }

    /// A message with this typed content: its type is [`Content::TYPE`], its content the value as JSON.
    ///
    /// # Errors
    /// [`Error::Content`]: the value cannot be encoded as JSON.
    pub fn of<T: Content>(value: &T) -> Result<Self, Error> {
        Self::message(T::TYPE).json(value)
    }

    /// Sets the sender.
    pub fn from(mut self, sender: &str) -> Self {
        self.sender_id = Some(sender.to_owned());
        self
    }

    /// Sets the recipient.
    pub fn to(mut self, recipient: &str) -> Self {
        self.recipient_id = Some(recipient.to_owned());
        self
    }

    /// Sets the content.
    pub fn content(mut self, content: impl Into<String>) -> Self {
        self.content = content.into();
        self
    }

    /// Sets the content to this value as JSON.
    ///
    /// # Errors
    /// [`Error::Content`]: the value cannot be encoded as JSON.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, Error> {
        self.content = serde_json::to_string(value)
            .map_err(|error| Error::Content(format!("the content cannot be encoded: {error}")))?;
        Ok(self)
    }

    /// Sets the role of the sender.
    pub fn role(mut self, role: &str) -> Self {
        self.sender_role = Some(role.to_owned());
        self
    }

    /// Makes it a message about this task, whatever its kind.
    pub fn about(mut self, task: &str) -> Self {
        self.task_id = Some(task.to_owned());
        self
    }

    /// Sets the conversation.
    pub fn conversation(mut self, conversation: &str) -> Self {
        self.conversation_id = Some(conversation.to_owned());
        self
    }

    /// Sets the id of the message that this one answers; see also [`Client::answer`](crate::Client::answer).
    pub fn in_reply_to(mut self, id: &str) -> Self {
        self.in_reply_to = Some(id.to_owned());
        self
    }

    /// Sets when inboxes and processing begin to skip the message (RFC 3339).
    pub fn expires_at(mut self, time: &str) -> Self {
        self.expires_at = Some(time.to_owned());
        self
    }

    /// Adds a member to the metadata.
    pub fn metadata(mut self, name: &str, value: Value) -> Self {
        self.metadata.insert(name.to_owned(), value);
        self
    }

    /// Sets the id. Sent again under the same id, it is the same message.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    pub(crate) fn with_id(&self) -> Self {
        let mut message = self.clone();
        message.id = message.id.or_else(|| Some(Uuid::now_v7()));
        message
    }

    fn new(kind: Kind, type_: &str) -> Self {
        Self {
            id: None,
            kind,
            type_: type_.to_owned(),
            sender_id: None,
            sender_role: None,
            recipient_id: None,
            task_id: None,
            conversation_id: None,
            in_reply_to: None,
            expires_at: None,
            content: String::new(),
            metadata: Map::new(),
        }
    }
}

/// The JSON of a value that always has one.
pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value)
        .map_err(|error| Error::Content(format!("the message cannot be encoded: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_only_what_is_set() {
        let json = |message: NewMessage| serde_json::to_string(&message).expect("JSON");
        assert_eq!(
            json(NewMessage::task("t1", "done").from("ann").content("x")),
            r#"{"kind":"task","type":"done","sender_id":"ann","task_id":"t1","content":"x"}"#
        );
        assert_eq!(
            json(NewMessage::status("online").metadata("ttl_s", 60.into())),
            r#"{"kind":"status","type":"online","metadata":{"ttl_s":60}}"#
        );
    }
}
