//! A branch: one walk along an index, and the names of a filter that the index answers.

use super::writer::{Writer, kinds_condition};
use crate::message::Kind;
use crate::store::sql::Dialect;

/// The names of a filter: its query parameters, and the scope of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    InReplyTo,
    Conversation,
    Task,
    Between,
    Recipient,
    Sender,
    Type,
    Kind,
    Subject,
    Scope,
}

/// How rare the rows typically are that match a value of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rarity {
    /// Rows of one agent, role, task, conversation or reply.
    Key,
    /// Rows of one type.
    Type,
    /// Rows of one kind.
    Kind,
    /// All rows.
    Any,
}

/// The names that a branch's index answers. Rows of the branch need no test for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(u16);

impl Names {
    pub(super) fn of(names: &[Name]) -> Self {
        Self(names.iter().fold(0, |set, name| set | 1 << *name as u16))
    }

    pub(super) fn with(self, name: Name) -> Self {
        Self(self.0 | 1 << name as u16)
    }

    pub(super) fn contains(self, name: Name) -> bool {
        self.0 & (1 << name as u16) != 0
    }
}

/// One walk along an index, in order of sequence.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// The index; `None` for the primary key.
    pub index: Option<&'static str>,
    /// The condition that the index answers, and tests of this branch alone.
    pub conditions: Vec<String>,
    /// The names of the filter that need no test on this branch.
    pub answers: Names,
}

impl Branch {
    pub(super) fn new(index: &'static str, condition: String, answers: &[Name]) -> Self {
        Self { index: Some(index), conditions: vec![condition], answers: Names::of(answers) }
    }

    pub(super) fn and(mut self, condition: String) -> Self {
        self.conditions.push(condition);
        self
    }

    pub(super) fn everything() -> Self {
        Self { index: None, conditions: Vec::new(), answers: Names::default() }
    }
}

/// Branches for one type and some kinds: in PostgreSQL one for each kind, in SQLite one for all.
pub(super) fn of_type(value: &str, kinds: &[Kind], answers: &[Name], w: &Writer) -> Vec<Branch> {
    if w.dialect == Dialect::Sqlite {
        let test = format!("(({}) IS TRUE)", kinds_condition(kinds));
        return vec![Branch::new("messages_type", format!("type = {value}"), answers).and(test)];
    }
    let branch = |kind: &Kind| {
        let condition = format!("type = {value} AND kind = '{}'", kind.as_str());
        Branch::new("messages_type", condition, answers)
    };
    kinds.iter().map(branch).collect()
}

/// Branches for some kinds. Each kind needs two indices: one of rows with a recipient, one of rows without.
pub(super) fn kinds(kinds: &[Kind]) -> Vec<Branch> {
    let halves = [("messages_broadcast", "IS NULL"), ("messages_direct", "IS NOT NULL")];
    let branch = |kind: &Kind, (index, null): (&'static str, &str)| {
        let condition = format!("kind = '{}' AND recipient_id {null}", kind.as_str());
        Branch::new(index, condition, &[Name::Kind])
    };
    kinds.iter().flat_map(|kind| halves.map(|half| branch(kind, half))).collect()
}
