//! The store: history, state and work, in PostgreSQL or SQLite.
//!
//! Invariants: the store holds a prefix of the log up to `committed_through`, except for recorded holes. Rows,
//! counters and watermark move in one transaction, by compare-and-set on the writer's lease epoch and the old
//! watermark, so a writer that was replaced cannot write, however long it was frozen. The store does not know the bus.
//!
//! [`Store`] is the sum of narrow traits. A method whose SQL is the same in both databases has its body in the trait
//! and runs on [`sql::Database`]; any other is implemented in `postgres/` and `sqlite/`, in the file of its SQL.

mod batch;
mod error;
mod fold;
mod history;
pub mod jobs;
mod log;
mod membership;
pub mod plan;
pub mod postgres;
mod rows;
mod schema;
mod sql;
pub mod sqlite;
pub mod state;
pub mod work;
mod write_all;

#[cfg(test)]
pub(crate) mod contract_tests;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use batch::Batch;
pub use error::StoreError;
pub use history::{Counts, HistoryStore, InboxFront, Original, Page, Stored};
use jobs::{JobStore, QueueStore, RecordedAttemptStore};
pub use log::{Hole, HoleReason, Lease, LogState, LogStore, Write};
pub use membership::{BusKind, Membership, MembershipState};
pub use state::StateStore;
use work::WorkStore;
pub use write_all::write_all;

/// A store as the rest of the program uses it.
#[async_trait]
pub trait Store:
    LogStore
    + HistoryStore
    + StateStore
    + WorkStore
    + QueueStore
    + JobStore
    + RecordedAttemptStore
    + 'static
{
    /// `postgres` or `sqlite`.
    fn name(&self) -> &'static str;

    /// Checks that the store responds.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The store's own time, by which leases run.
    async fn clock(&self) -> Result<DateTime<Utc>, StoreError>;

    /// Settings of the database by which `committed` is less than synced to disk, as messages for an
    /// operator; empty where there are none.
    async fn weaknesses(&self) -> Result<Vec<String>, StoreError>;

    /// Joins the deployment: on the memory bus alone, on NATS beside others.
    /// `Ok(Err(reason))` when running servers forbid it.
    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
