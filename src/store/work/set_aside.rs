//! Messages that are set aside (kept with their content) for another attempt.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Error;
use uuid::Uuid;

use super::attempts::{self, Attempt, error_text};
use super::dead_letters::read_subject;
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Statement, unreadable};

/// A message to be set aside. It has its content, so that an attempt needs neither stream nor history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its sequence, unique within the consumer.
    pub seq: u64,
    /// The subject on which it was published.
    pub subject: String,
    /// The envelope without `seq`.
    pub body: Bytes,
    /// How many attempts already count against `max_deliver`.
    pub attempt: u32,
    /// Those of its attempts whose error is known.
    pub attempts: Vec<Attempt>,
    /// Time from now until the next attempt.
    pub delay: Duration,
}

/// A message that was set aside and is now leased for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedMessage {
    /// Its sequence.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its envelope without `seq`.
    pub body: Bytes,
    /// The number of this attempt, from 1 on.
    pub attempt: u32,
    /// The earlier attempts, with their errors.
    pub attempts: Vec<Attempt>,
    /// Identifies the lease. After it has run out, the message may have another.
    pub lease: Uuid,
}

/// How an attempt at a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It succeeded: the message is deleted.
    Done,
    /// It failed: the message is retried.
    Retry {
        /// The failure.
        attempt: Attempt,
        /// Time from now until the next attempt.
        delay: Duration,
    },
    /// It was cut short for a reason outside of the message (a shutdown), and does not count.
    Released,
    /// The message is given up, and becomes a dead letter.
    Dead {
        /// The last failure, if this attempt had one.
        attempt: Option<Attempt>,
        /// Why it is given up.
        reason: String,
    },
}

/// The outcome of one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOutcome {
    /// The message.
    pub seq: u64,
    /// The lease. If it has run out and the message has another one, the outcome changes nothing.
    pub lease: Uuid,
    /// How the attempt ended.
    pub outcome: AttemptOutcome,
}

/// The part of a store that holds messages set aside.
#[async_trait]
pub trait SetAsideStore: Database {
    /// Sets messages aside for another attempt. A message that is already set aside, or is a dead letter of
    /// this consumer, stays as it is.
    async fn set_aside(&self, consumer: &str, messages: &[SetAside]) -> Result<(), StoreError>;

    /// Leases due messages, each for an attempt, the longest due first: at most `limit`, and fewer if they
    /// are large. A message that has had `max_deliver` attempts becomes a dead letter instead, even if its
    /// last attempt only ran out.
    async fn lease_due(
        &self,
        consumer: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
    ) -> Result<Vec<LeasedMessage>, StoreError>;

    /// Time until a message is due: zero if one is due now, `None` if nothing is set aside. A leased message
    /// is due when its lease runs out.
    async fn next_due(&self, consumer: &str) -> Result<Option<Duration>, StoreError> {
        let (dialect, hint) = match self.dialect() {
            Dialect::Postgres => (Dialect::Postgres, ""),
            Dialect::Sqlite => (Dialect::Sqlite, " INDEXED BY set_aside_due"),
        };
        let sql = format!(
            "SELECT {} FROM set_aside{hint} WHERE consumer = $1 ORDER BY due, seq LIMIT 1",
            dialect.micros_until("due", "$2")
        );
        let statement = Statement::new(sql).bind(consumer).bind(Duration::ZERO);
        let rows = self.select(Pool::Workers, statement).await?;
        rows.first(|row| row.seq(0).map(Duration::from_micros))
    }

    /// Extends leases, from now on, that the messages still have.
    async fn extend_leases(
        &self,
        consumer: &str,
        leases: &[(u64, Uuid)],
        lease_for: Duration,
    ) -> Result<(), StoreError>;

    /// Ends leases that the messages still have, even if they have run out. A message that is given up
    /// becomes a dead letter in the same transaction.
    async fn settle(&self, consumer: &str, settled: &[LeaseOutcome]) -> Result<(), StoreError>;
}

/// The terms of a lease of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTerms {
    pub lease: Uuid,
    pub limit: usize,
    pub max_deliver: u32,
    pub lease_for: Duration,
}

/// Decodes a message with the lease that it was given.
pub(crate) fn read_leased(row: Row<'_>, lease: Uuid) -> Result<LeasedMessage, Error> {
    Ok(LeasedMessage {
        seq: row.seq("seq")?,
        subject: read_subject(row)?,
        body: row.get::<Vec<u8>>("body")?.into(),
        attempt: row.number("attempt")?,
        attempts: attempts::decode(row.get("attempts")?).map_err(unreadable)?,
        lease,
    })
}

/// A [`LeaseOutcome`] as the statements take it.
pub(crate) struct SettledRow {
    /// `done`, `again`, `returned` or `dead`.
    pub outcome: &'static str,
    /// The line to add to its attempts, or an empty text.
    pub line: String,
    /// Time from now until it is due, if it stays set aside.
    pub delay: Duration,
    /// Why it is given up, if it is.
    pub reason: String,
    /// The id of its dead letter, if it is given up.
    pub letter: Option<Uuid>,
}

impl SettledRow {
    pub fn of(settled: &LeaseOutcome) -> Self {
        let row = |outcome| Self {
            outcome,
            line: String::new(),
            delay: Duration::ZERO,
            reason: String::new(),
            letter: None,
        };
        match &settled.outcome {
            AttemptOutcome::Done => row("done"),
            AttemptOutcome::Released => row("returned"),
            AttemptOutcome::Retry { attempt, delay } => {
                Self { line: attempts::line(attempt), delay: *delay, ..row("again") }
            }
            AttemptOutcome::Dead { attempt, reason } => Self {
                line: attempt.as_ref().map(attempts::line).unwrap_or_default(),
                reason: error_text(reason),
                letter: Some(Uuid::now_v7()),
                ..row("dead")
            },
        }
    }
}
