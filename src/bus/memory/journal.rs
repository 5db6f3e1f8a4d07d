//! The store of the memory bus, as the bus sees it.

use std::collections::HashMap;

use async_trait::async_trait;
use uuid::Uuid;

use crate::message::LogEntry;

/// The store of the memory bus, which writes every entry through to it, and reads from it the entries that are no
/// longer in memory.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends entries after sequence `old`, all or none, fsynced.
    async fn append(&self, old: u64, entries: Vec<LogEntry>) -> Result<(), JournalError>;

    /// The last sequence appended. It shows the outcome of an append that was unknown.
    async fn last(&self) -> Result<u64, JournalError>;

    /// The sequences of those ids that were appended before.
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, JournalError>;

    /// Up to `limit` entries from a sequence on.
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, JournalError>;

    /// The lowest sequence, if it has any.
    async fn first(&self) -> Result<Option<u64>, JournalError>;
}

/// Why a call to the journal failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// No answer: an append may have been written or not.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// Another process owns the journal; this bus must stop.
    #[error("the journal belongs to another process now")]
    Lost,
}
