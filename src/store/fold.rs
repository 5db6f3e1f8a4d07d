//! The *fold* of a batch of rows: what it changes in agents, tasks and inboxes. Both stores use it.
//!
//! Invariant: a fold depends only on the rows of its batch and has one entry for each agent, task and inbox.
//! Folds are applied in log order. A bare row (written without its names because the store refused it)
//! changes nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::rows::Row;
use super::sql::to_db;
use crate::message::{Kind, Record, StatusEnd};

/// The types of events that end a task.
const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];

/// The changes by name. Names are ordered, so that every writer locks rows in the same order.
#[derive(Default)]
pub(super) struct Fold<'a> {
    pub agents: BTreeMap<&'a str, AgentFold<'a>>,
    pub tasks: BTreeMap<&'a str, TaskFold<'a>>,
    pub inboxes: BTreeMap<&'a str, InboxFold>,
}

/// What a batch changes in one agent; `None` leaves a column unchanged.
#[derive(Default)]
pub(super) struct AgentFold<'a> {
    pub role: Option<&'a str>,
    pub status: Option<StatusFold<'a>>,
    pub last_seen: Option<DateTime<Utc>>,
}

/// The last status of an agent in a batch, and the run of equal statuses that ends with it.
pub(super) struct StatusFold<'a> {
    pub type_: &'a str,
    pub seq: i64,
    pub since: DateTime<Utc>,
    /// Whether the batch has no other status of the agent before the run, so that the run may have begun in
    /// an earlier batch.
    pub unbroken: bool,
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a batch adds to one task.
pub(super) struct TaskFold<'a> {
    pub outcome: Option<&'a str>,
    pub last_event: Option<&'a str>,
    pub messages: i64,
    pub events: i64,
    /// Events of the task after the one in this batch that ended it.
    pub late_events: i64,
    pub first_seq: i64,
    pub last_seq: i64,
}

/// What a batch adds to one inbox.
#[derive(Default)]
pub(super) struct InboxFold {
    pub received: i64,
    /// The sequence of the last message to the inbox that may expire.
    pub last_expiring: Option<i64>,
}

impl<'a> Fold<'a> {
    pub fn of(rows: &[Row<'a>]) -> Self {
        let mut fold = Self::default();
        for record in rows.iter().filter(|row| !row.is_bare()).map(|row| row.record) {
            if record.kind != Kind::Task {
                fold.agents.entry(record.sender_id.as_str()).or_default().add(record);
            }
            if let Some(task) = &record.task_id {
                let seq = to_db(record.seq);
                let task = fold.tasks.entry(task.as_str());
                task.or_insert_with(|| TaskFold::beginning_at(seq)).add(record);
            }
            if let Some(recipient) = &record.recipient_id {
                let inbox = fold.inboxes.entry(recipient.as_str()).or_default();
                inbox.received += 1;
                if record.expires_at.is_some() {
                    inbox.last_expiring = Some(to_db(record.seq));
                }
            }
        }
        fold
    }
}

impl<'a> AgentFold<'a> {
    fn add(&mut self, record: &'a Record) {
        if let Some(role) = &record.sender_role {
            self.role = Some(role.as_str());
        }
        let end = StatusEnd::of(record);
        if !end.is_lapse {
            self.last_seen = Some(record.created_at);
        }
        if record.kind != Kind::Status {
            return;
        }
        let type_ = record.type_.as_str();
        let before = self.status.take();
        let (since, unbroken) = match &before {
            Some(run) if run.type_ == type_ => (run.since, run.unbroken),
            Some(_) => (record.created_at, false),
            None => (record.created_at, true),
        };
        let expires_at = end.ttl.and_then(|ttl| record.created_at.checked_add_signed(ttl));
        self.status =
            Some(StatusFold { type_, seq: to_db(record.seq), since, unbroken, expires_at });
    }
}

impl<'a> TaskFold<'a> {
    fn beginning_at(seq: i64) -> Self {
        Self {
            outcome: None,
            last_event: None,
            messages: 0,
            events: 0,
            late_events: 0,
            first_seq: seq,
            last_seq: seq,
        }
    }

    fn add(&mut self, record: &'a Record) {
        self.messages += 1;
        self.last_seq = to_db(record.seq);
        if record.kind != Kind::Task {
            return;
        }
        let type_ = record.type_.as_str();
        self.events += 1;
        self.last_event = Some(type_);
        if self.outcome.is_some() {
            self.late_events += 1;
        } else if ENDS.contains(&type_) {
            self.outcome = Some(type_);
        }
    }
}
