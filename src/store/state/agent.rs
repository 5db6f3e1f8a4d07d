//! Agents, their statuses and inboxes.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::message::Token;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inbox {
    /// It has consumed everything up to here.
    pub consumed_through: u64,
    /// Messages to it beyond that, but for those that have expired.
    pub waiting: u64,
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
