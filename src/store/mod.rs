//! The store: history, counters and the watermark, in PostgreSQL or SQLite.
//!
//! Invariants: the store holds a prefix of the log up to `committed_through`,
//! holes told; rows, counters and watermark move in one transaction, and only
//! by compare-and-set on the writer's lease epoch and the old watermark, so a
//! writer that was replaced cannot write, however long it was frozen. The
//! store knows nothing of the bus.

mod batch;
mod fold;
mod job_rows;
pub mod jobs;
pub mod plan;
pub mod postgres;
mod rows;
pub mod sqlite;
pub mod state;
mod state_sql;
pub mod work;
mod write_all;

#[cfg(test)]
pub(crate) mod contract_tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::message::{
    HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Headers, Kind, LogEntry, Query, Record,
    Subject, Token,
};
pub use batch::Batch;
use jobs::JobStore;
pub use state::StateStore;
use work::WorkStore;
pub use write_all::write_all;

/// Which bus a deployment's log is on, as the store records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusKind {
    /// In the server's own process.
    Memory,
    /// A JetStream stream.
    Nats,
}

impl BusKind {
    /// The value of `MESSAGE_BUS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Nats => "nats",
        }
    }

    /// Reads back what [`Self::as_str`] gave.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Memory, Self::Nats].into_iter().find(|bus| bus.as_str() == name)
    }
}

/// The state of the log as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Everything up to this sequence is in the store or told as a hole.
    pub committed_through: u64,
    /// The lowest sequence with a row; `None` while there is no row.
    pub first_seq: Option<u64>,
    /// Which bus the log was on when last written; `None` for a new store.
    pub bus: Option<BusKind>,
    /// The epoch of the stream the rows came from (its metadata), on NATS.
    pub stream_epoch: Option<Uuid>,
}

/// The right to write, until somebody takes it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub owner: Uuid,
    /// Rises with every change of hands; what fences the former holder.
    pub epoch: i64,
    /// The watermark when it was granted.
    pub committed_through: u64,
}

/// Sequences that nobody holds any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First missing sequence.
    pub from: u64,
    /// Last missing sequence.
    pub to: u64,
    /// Why.
    pub reason: HoleReason,
}

/// Why sequences are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleReason {
    /// The stream's limits dropped them, or an operator deleted them.
    Expired,
    /// A switch of bus left them behind (`--abandon-tail`).
    Abandoned,
}

impl HoleReason {
    /// The name on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
        }
    }

    /// Reads back what [`Self::as_str`] gave; what a newer version wrote is expired.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        if name == Self::Abandoned.as_str() { Self::Abandoned } else { Self::Expired }
    }
}

/// What one write moves, all or nothing. Rows rise in `seq`; every sequence in
/// `old_through+1 ..= new_through` is either a row or inside a hole.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The watermark this write starts from.
    pub old_through: u64,
    /// The watermark it ends at.
    pub new_through: u64,
    /// The rows.
    pub records: &'a [Record],
    /// The sequences that the log skipped.
    pub holes: &'a [Hole],
    /// Whether to keep sequence, subject, id, kind, times and bytes alone: for
    /// rows whose other columns the store refused. They still count.
    pub bare: bool,
    /// How long the lease is good for after this write, by the store's clock.
    pub lease_for: Duration,
}

/// A message as history returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub seq: u64,
    /// Its kind (the SSE event name).
    pub kind: Kind,
    /// The envelope without `seq`.
    pub body: Bytes,
}

/// A row with what is needed to publish it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The message.
    pub stored: Stored,
    /// Its id.
    pub id: Uuid,
    /// The subject it was published on.
    pub subject: Subject,
    /// Payload and headers of a foreign message; `None` where the body is the
    /// payload and the headers are the ones agentbus sets.
    pub foreign: Option<(Bytes, Headers)>,
    /// When the log took it.
    pub logged_at: DateTime<Utc>,
}

impl Original {
    /// The log entry that the row was made of.
    #[must_use]
    pub fn into_raw(self) -> LogEntry {
        let (payload, headers) = self.foreign.unwrap_or_else(|| {
            let headers = vec![
                (HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned()),
                (HEADER_MSG_ID.to_owned(), self.id.to_string()),
            ];
            (self.stored.body, headers)
        });
        let (seq, subject, logged_at) = (self.stored.seq, self.subject, self.logged_at);
        LogEntry { seq, subject, headers, payload, logged_at }
    }
}

/// One page of history.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order asked for.
    pub messages: Vec<Stored>,
    /// Whether more match beyond the last one.
    pub more: bool,
    /// The watermark as of which the page is exact.
    pub committed_through: u64,
}

/// What was found at the front of an inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Living {
    /// The first message that has not expired.
    pub first: Option<u64>,
    /// How many stand before it; all that were looked at, where there is none.
    pub expired: u64,
    /// The last one that was looked at.
    pub last: Option<u64>,
    /// Whether more may follow that was not looked at. `false` where `first` is known.
    pub more: bool,
    /// The watermark as of which this is exact.
    pub committed_through: u64,
}

impl Living {
    /// Adds what [`plan::living`] found in a further stretch: first, last, looked at, before the first.
    fn add(&mut self, (first, last, looked, before): (Option<i64>, Option<i64>, i64, i64)) {
        self.first = first.map(plan::from_db);
        self.expired += plan::from_db(if first.is_some() { before } else { looked });
        self.last = last.map(plan::from_db).or(self.last);
    }
}

/// Messages counted by each of three columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By kind.
    pub by_kind: BTreeMap<String, u64>,
    /// By type: those of the most messages.
    pub by_type: BTreeMap<String, u64>,
    /// By sender: those of the most messages.
    pub by_sender: BTreeMap<String, u64>,
    /// How many types there are in all.
    pub types: u64,
    /// How many senders there are in all.
    pub senders: u64,
}

/// Why the store did not do a thing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or did not answer in time.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It refuses this content (SQLSTATE classes 22 and 23 and the like);
    /// asking again with the same rows is of no use.
    #[error("the store refuses this: {0}")]
    Refused(String),
    /// Another writer took the lease, or the watermark moved.
    #[error("another writer took over")]
    Fenced,
}

/// Holds the store for one process; released when dropped, and by the
/// operating system or the database when the process dies.
pub trait Membership: Send + Sync {
    /// How the hold stands now.
    fn state(&self) -> MembershipState;
}

/// How a hold on the store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipState {
    /// It is known to be good.
    Held,
    /// It is not known to be good, for this reason; it may be again.
    InDoubt(String),
    /// It is lost for good, for this reason.
    Lost(String),
}

/// What a store can do. Not found is `Ok(None)`: the caller decides.
#[async_trait]
pub trait Store: StateStore + WorkStore + JobStore + Send + Sync + 'static {
    /// `postgres` or `sqlite`.
    fn name(&self) -> &'static str;

    /// Asks the store for a sign of life.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The store's own time, by which leases run.
    async fn clock(&self) -> Result<DateTime<Utc>, StoreError>;

    /// What in the database's settings makes `committed` less than synced to disk, in words for an
    /// operator; none where all is well.
    async fn weaknesses(&self) -> Result<Vec<String>, StoreError>;

    /// Joins the deployment: on the memory bus alone, on NATS beside others.
    /// `Ok(Err(reason))` when running servers forbid it.
    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError>;

    /// The state of the log.
    async fn log_state(&self) -> Result<LogState, StoreError>;

    /// Records bus and stream epoch, under the lease.
    async fn set_log(
        &self,
        lease: &Lease,
        bus: BusKind,
        epoch: Option<Uuid>,
    ) -> Result<(), StoreError>;

    /// Takes the lease if it is free, has run out, is already the owner's, or
    /// `force` is set. `None` while another holds it.
    async fn claim(
        &self,
        owner: Uuid,
        lease_for: Duration,
        force: bool,
    ) -> Result<Option<Lease>, StoreError>;

    /// Whether the lease is still its owner's. Changes nothing.
    async fn leads(&self, lease: &Lease) -> Result<bool, StoreError>;

    /// Prolongs the lease. [`StoreError::Fenced`] when it was lost.
    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError>;

    /// Gives the lease back so that another need not wait for its end.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Writes rows, holes and counters, folds them into agents, tasks and inboxes,
    /// and moves the watermark, in one transaction.
    async fn write(&self, lease: &Lease, write: Write<'_>) -> Result<(), StoreError>;

    /// The lowest sequence of each id that has a row. Reads no message: many ids may be
    /// asked for at once, and each may stand for a megabyte.
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, StoreError>;

    /// The message at a sequence, as history returns it.
    async fn message(&self, seq: u64) -> Result<Option<Stored>, StoreError>;

    /// The row at a sequence.
    async fn original(&self, seq: u64) -> Result<Option<Original>, StoreError>;

    /// Rows from a sequence on, in order, with all that publishing again needs.
    /// At most `limit`, and fewer when they are large: none alone means the end.
    async fn originals(&self, from: u64, limit: usize) -> Result<Vec<Original>, StoreError>;

    /// A page of history. Shorter than its limit, with `more` set, when its
    /// bodies reach [`crate::limits::MAX_PAGE_BYTES`]; never empty then.
    async fn page(&self, query: &Query) -> Result<Page, StoreError>;

    /// Looks at what a query asks for, no more than its limit and one, for the first message that
    /// has not expired by `now`. Reads no bodies.
    async fn living(&self, query: &Query, now: DateTime<Utc>) -> Result<Living, StoreError>;

    /// Holes that touch the range, in order, at most `limit`.
    async fn holes(&self, from: u64, to: u64, limit: usize) -> Result<Vec<Hole>, StoreError>;

    /// Counts of all messages, or of one task's; of types and senders the `most` largest, of
    /// equal ones the first by name.
    async fn counts(&self, task: Option<&Token>, most: usize) -> Result<Counts, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
