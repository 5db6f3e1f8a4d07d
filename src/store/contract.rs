//! The contract that `postgres/` and `sqlite/` implement, and one suite of tests checks.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::error::StoreError;
use super::history::HistoryStore;
use super::jobs::{JobStore, QueueStore, RecordedAttemptStore};
use super::log::LogStore;
use super::membership::{BusKind, Membership};
use super::state::StateStore;
use super::work::WorkStore;

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
