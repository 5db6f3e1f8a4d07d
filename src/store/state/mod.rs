//! What the store folds from the log: agents, tasks and inboxes (contract,
//! sections 6 and 7).
//!
//! Invariant: agents, tasks and what inboxes received change in the write that
//! moves the watermark, so a result is exact as of the watermark it names, which
//! is read in the same statement. The cursor of an inbox is the only column here
//! that clients write; it only rises.

mod sql;
mod store;

use chrono::{DateTime, Utc};

use crate::message::Token;
pub use store::StateStore;

/// A value, and the watermark as of which it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf<T> {
    /// The watermark.
    pub as_of: u64,
    /// The value.
    pub value: T,
}

impl<T> AsOf<T> {
    /// Another value as of the same watermark.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AsOf<U> {
        AsOf { as_of: self.as_of, value: change(self.value) }
    }
}

/// A page of a list in order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

impl<T> Listing<T> {
    /// The first `limit` of at most `limit + 1` items.
    fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}

/// A sender of messages or statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub agent_id: String,
    /// The last role it gave.
    pub role: Option<String>,
    /// The type of its latest status.
    pub status: Option<String>,
    /// When its status became this one: the begin of the run of equal statuses.
    pub since: Option<DateTime<Utc>>,
    /// When it made its latest message or status.
    pub last_seen: Option<DateTime<Utc>>,
    /// When its status lapses, if it has a time to live.
    pub expires_at: Option<DateTime<Utc>>,
    /// Its inbox.
    pub inbox: Inbox,
}

/// The position of a recipient, and what waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    /// It has consumed everything up to here.
    pub consumed_through: u64,
    /// Messages to it beyond that, but for those that have expired.
    pub waiting: u64,
}

/// A task, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub task_id: String,
    /// The type of the event that ended it; `None` while it is open.
    pub outcome: Option<String>,
    /// The type of its last event.
    pub last_event: Option<String>,
    /// Senders of its messages: the first [`crate::limits::TASK_AGENTS`] by name.
    pub agents: Vec<String>,
    /// The number of senders.
    pub agent_count: u64,
    /// Messages of any kind about it.
    pub messages: u64,
    /// Events after the one that ended it.
    pub late_events: u64,
    /// The first message about it.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
}

/// Whether a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// No event ended it yet.
    Open,
    /// One did.
    Done,
}

impl TaskState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
        }
    }
}

impl Task {
    /// Whether it has ended.
    #[must_use]
    pub fn state(&self) -> TaskState {
        if self.outcome.is_some() { TaskState::Done } else { TaskState::Open }
    }
}

/// A status that lapsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LapsedStatus {
    /// The agent.
    pub agent: Token,
    /// Its sequence.
    pub seq: u64,
    /// When it lapsed.
    pub expires_at: DateTime<Utc>,
}

/// Statuses that lapsed, and when the next one will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// The statuses.
    pub statuses: Vec<LapsedStatus>,
    /// When the next one lapses, as known now.
    pub next: Option<DateTime<Utc>>,
}
