//! NATS subjects of messages (contract, section 2).

use std::fmt;
use std::sync::Arc;

use super::{Kind, Token};

/// The subjects of the stream, one per kind.
pub const MESSAGE_SUBJECTS: [&str; 3] = ["agent.message.>", "agent.status.>", "agent.task.>"];

/// The subject a message was published on. One that agentbus derived has four tokens; a foreign one may have any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// `agent.<kind>.<key>.<type>`. The key is the role of the sender for kind message, the sender for status, the task
    /// for task.
    #[must_use]
    pub fn derive(kind: Kind, key: &Token, type_: &Token) -> Self {
        let parts = ["agent", kind.as_str(), key.as_str(), type_.as_str()];
        Self(parts.join(".").into())
    }

    /// Whether [`Subject::derive`] returns it for these.
    #[must_use]
    pub fn is_derived(&self, kind: Kind, key: &Token, type_: &Token) -> bool {
        let parts = ["agent", kind.as_str(), key.as_str(), type_.as_str()];
        self.0.split('.').eq(parts)
    }

    /// A subject of the log.
    #[must_use]
    pub fn from_log(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind that the second token names. The stream has no other subjects; one without a kind counts as a message.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.split('.').nth(1).and_then(|token| token.parse().ok()).unwrap_or(Kind::Message)
    }

    /// The third token, if it is a valid one.
    #[must_use]
    pub fn key(&self) -> Option<Token> {
        self.0.split('.').nth(2)?.parse().ok()
    }

    /// The fourth token, if it is a valid one.
    #[must_use]
    pub fn type_(&self) -> Option<Token> {
        self.0.split('.').nth(3)?.parse().ok()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
