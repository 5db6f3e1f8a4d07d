//! The contract that `postgres/` and `sqlite/` implement. One suite of tests checks both.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::audit::AuditStore;
use super::erasures::ErasureStore;
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
    + ErasureStore
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

    /// The rights that a server needs and the role of the database lacks, each as a line for an operator. SQLite has no
    /// roles.
    async fn missing_rights(&self) -> Result<Vec<String>, StoreError>;

    /// Joins the deployment: on the memory bus as its only server, on NATS beside others. Returns
    /// `Ok(Err(reason))` if running servers forbid it.
    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError>;

    /// The pools of connections. Reads memory only.
    fn pools(&self) -> Vec<PoolState>;

    /// The store's files; `None` if it is not on this machine's disk. Asks the file system, so it blocks.
    fn files(&self) -> Option<StoreFiles> {
        None
    }

    /// Closes the connections.
    async fn close(&self);
}

/// The connections of one pool, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// What the pool is for.
    pub name: &'static str,
    /// The most connections it opens.
    pub max: usize,
    /// Connections that work.
    pub in_use: usize,
    /// Open connections that do nothing.
    pub idle: usize,
    /// Calls that wait for a connection, as far as they are counted.
    pub waiting: usize,
}

/// The files of a store on this machine's disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFiles {
    /// The database.
    pub database: u64,
    /// Its write-ahead log.
    pub wal: u64,
    /// Free space of the file system, for this user.
    pub disk_free: u64,
    /// All space of the file system.
    pub disk: u64,
}
