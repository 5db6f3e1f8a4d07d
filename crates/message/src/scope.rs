//! The scope of a reader: the messages that its grants let it read (contract, section 11).
//!
//! Invariant: a filter with a scope never matches a message outside of it, whatever its parameters say. The scope is
//! part of the filter's identity, so readers with different scopes share neither filter groups nor cached pages.

use super::{Record, SubjectPattern, Token};

/// Messages on some subjects, and those sent by or to some names. An empty scope has no message.
///
/// The values must be sorted, so that equal scopes compare and hash equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Patterns for the subject.
    pub subjects: Vec<SubjectPattern>,
    /// Ids of agents: messages that one of them sent or received.
    pub names: Vec<Token>,
}

impl Scope {
    /// Whether the message is in the scope.
    #[must_use]
    pub fn allows(&self, record: &Record) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(record.subject.as_str()))
            || self.names.contains(&record.sender_id)
            || record.recipient_id.as_ref().is_some_and(|to| self.names.contains(to))
    }

    /// Whether the scope has no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty() && self.names.is_empty()
    }
}
