//! The contract that `postgres/` and `sqlite/` implement. One suite of tests checks both.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::audit::AuditStore;
use super::error::StoreError;
use super::history::HistoryStore;
use super::jobs::{JobStore, QueueStore, RecordedAttemptStore};
use super::keys::KeyStore;
use super::log::LogStore;
use super::membership::{BusKind, Membership};
use super::schemas::SchemaStore;
use super::state::StateStore;
use super::versions::VersionStore;
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
    + KeyStore
    + SchemaStore
    + VersionStore
    + AuditStore
    + 'static
{
    /// `postgres` or `sqlite`.
    fn name(&self) -> &'static str;

    /// Checks that the store responds.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The store's current time: that of the database server, or for a file that of this machine.
    async fn clock(&self) -> Result<DateTime<Utc>, StoreError>;

    /// Settings of the database with which committed messages may not be synced to disk, as messages for an
    /// operator. Empty if there are none.
    async fn weaknesses(&self) -> Result<Vec<String>, StoreError>;

    /// Joins the deployment: on the memory bus as its only server, on NATS beside others. Returns
    /// `Ok(Err(reason))` if running servers forbid it.
    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError>;

    /// Closes the connections.
    async fn close(&self);
}
