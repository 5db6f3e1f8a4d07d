//! Agents, their statuses and inboxes.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::message::Token;

/// A sender of messages or statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub agent_id: String,
    /// The last role that it stated.
    pub role: Option<String>,
    /// The type of its latest status.
    pub status: Option<String>,
    /// When its current status began: the start of the run of equal statuses.
    pub since: Option<DateTime<Utc>>,
    /// When it created its latest message or status.
    pub last_seen: Option<DateTime<Utc>>,
    /// When its status lapses, if it has a time to live.
    pub expires_at: Option<DateTime<Utc>>,
    /// Its inbox.
    pub inbox: Inbox,
}

/// How far a recipient has consumed its messages, and how many wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inbox {
    /// The sequence up to which the recipient has consumed everything.
    pub consumed_through: u64,
    /// Messages to the recipient beyond that, except those that have expired.
    pub waiting: u64,
}

/// A status that lapsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LapsedStatus {
    /// The agent whose status lapsed.
    pub agent: Token,
    /// The sequence of that status.
    pub seq: u64,
    /// When the status lapsed.
    pub expires_at: DateTime<Utc>,
}

/// Statuses that lapsed, and when the next one will lapse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// The statuses.
    pub statuses: Vec<LapsedStatus>,
    /// When the next one lapses, as known now.
    pub next: Option<DateTime<Utc>>,
}
