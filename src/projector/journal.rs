//! The journal of the memory bus: it stores messages as the projector does, before they are acknowledged.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::bus::memory::{Journal, JournalError};
use crate::committed::Committed;
use crate::limits::LEASE;
use crate::message::LogEntry;
use crate::store::{Batch, Lease, Original, Store, StoreError, write_all};

/// A [`Journal`] that writes to the store.
pub struct StoreJournal {
    store: Arc<dyn Store>,
    lease: Lease,
    committed: Arc<Committed>,
    log_name: &'static str,
}

impl StoreJournal {
    /// A journal that writes under this lease.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        lease: Lease,
        committed: Arc<Committed>,
        log_name: &'static str,
    ) -> Self {
        Self { store, lease, committed, log_name }
    }
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced => Self::Lost,
            StoreError::Unavailable(_) | StoreError::Refused(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl StoreJournal {
    /// A fenced write means that the journal is lost only if the lease is lost too. Otherwise an earlier
    /// attempt, whose response was lost, may have moved the watermark.
    async fn classify(&self, error: StoreError) -> JournalError {
        match error {
            StoreError::Fenced => match self.store.renew(&self.lease, LEASE).await {
                Err(StoreError::Fenced) => JournalError::Lost,
                Ok(()) | Err(_) => JournalError::Unavailable("the watermark has moved".to_owned()),
            },
            other => other.into(),
        }
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn append(&self, old: u64, entries: Vec<LogEntry>) -> Result<(), JournalError> {
        let mut batch = Batch::after(old);
        batch.extend(entries, self.log_name);
        if let Err(error) = write_all(&*self.store, &self.lease, &batch).await {
            return Err(self.classify(error).await);
        }
        self.committed.raise(batch.through());
        Ok(())
    }

    async fn last(&self) -> Result<u64, JournalError> {
        let state = self.store.log_state().await?;
        self.committed.raise(state.committed_through);
        Ok(state.committed_through)
    }

    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, JournalError> {
        Ok(self.store.find(ids).await?)
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, JournalError> {
        let rows = self.store.originals(from, limit).await?;
        Ok(rows.into_iter().map(Original::into_log_entry).collect())
    }

    async fn first(&self) -> Result<Option<u64>, JournalError> {
        Ok(self.store.log_state().await?.first_seq)
    }
}
