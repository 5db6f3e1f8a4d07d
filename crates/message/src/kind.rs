//! The three kinds of message.

use std::str::FromStr;

/// The kind of a message (contract, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A message from one agent to another or to all agents.
    Message,
    /// The status of the sender.
    Status,
    /// An event of a task.
    Task,
}

impl Kind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Self; 3] = [Self::Message, Self::Status, Self::Task];

    /// The name in JSON, in the subject, and as the name of the SSE event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Status => "status",
            Self::Task => "task",
        }
    }
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or("must be message, status or task")
    }
}
