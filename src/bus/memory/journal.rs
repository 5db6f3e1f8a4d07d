//! What the memory bus requires of its store.

use std::collections::HashMap;

use async_trait::async_trait;
use uuid::Uuid;

use crate::message::LogEntry;

/// The store of the memory bus. The bus writes every entry to it before the ack, and reads from it the
/// entries that it no longer has in memory.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends entries after sequence `old`: all of them or none, synced to disk.
    async fn append(&self, old: u64, entries: Vec<LogEntry>) -> Result<(), JournalError>;

    /// The last sequence appended. It shows whether an append without a result was written.
    async fn last(&self) -> Result<u64, JournalError>;

    /// The sequences of those of `ids` that the journal has.
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, JournalError>;

    /// Up to `limit` entries from a sequence on.
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, JournalError>;

    /// The lowest sequence; `None` for an empty journal.
    async fn first(&self) -> Result<Option<u64>, JournalError>;
}

/// Why a call to the journal failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// There was no answer: an append may have been written or not.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// Another process owns the journal; this bus must stop.
    #[error("the journal belongs to another process now")]
    Lost,
}
