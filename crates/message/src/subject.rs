//! NATS subjects of messages (contract, section 2).

use std::fmt;
use std::sync::Arc;

use super::{Kind, Token};

/// The subjects of the log's stream, one for each kind.
pub const MESSAGE_SUBJECTS: [&str; 3] = ["agent.message.>", "agent.status.>", "agent.task.>"];

/// The subject of a message. One that agentbus derived has four tokens; that of another NATS client may have
/// any number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Derives `agent.<kind>.<key>.<type>`. For kind message the key is the sender's role, for status the
    /// sender, for task the task.
    #[must_use]
    pub fn derive(kind: Kind, key: &Token, type_: &Token) -> Self {
        let parts = ["agent", kind.as_str(), key.as_str(), type_.as_str()];
        Self(parts.join(".").into())
    }

    /// Whether [`Subject::derive`] returns this subject for these arguments.
    #[must_use]
    pub fn is_derived(&self, kind: Kind, key: &Token, type_: &Token) -> bool {
        let parts = ["agent", kind.as_str(), key.as_str(), type_.as_str()];
        self.0.split('.').eq(parts)
    }

    /// A subject as the log has it. It is not validated.
    #[must_use]
    pub fn from_log(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind named by the second token. The stream accepts only the three kinds; any other subject counts
    /// as a message.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.split('.').nth(1).and_then(|token| token.parse().ok()).unwrap_or(Kind::Message)
    }

    /// The third token, if it is a valid [`Token`].
    #[must_use]
    pub fn key(&self) -> Option<Token> {
        self.0.split('.').nth(2)?.parse().ok()
    }

    /// The fourth token, if it is a valid [`Token`].
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
