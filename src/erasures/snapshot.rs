//! Keeps the set of erased messages as the store has it, and memory without them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::broadcast::Broadcaster;
use crate::erased::Erased;
use crate::renewal::Snapshot;
use crate::store::{Store, StoreError, Versions};

/// Renews [`Erased`] from the store.
pub struct ErasedSnapshot {
    erased: Arc<Erased>,
    store: Arc<dyn Store>,
    /// What this process has in memory; a worker has no ring.
    broadcaster: Option<Arc<Broadcaster>>,
}

impl ErasedSnapshot {
    /// Keeps this set, and the ring without what is in it.
    #[must_use]
    pub fn new(
        erased: Arc<Erased>,
        store: Arc<dyn Store>,
        broadcaster: Option<Arc<Broadcaster>>,
    ) -> Self {
        Self { erased, store, broadcaster }
    }

    /// Reads what was erased since the last call. When this returns, this process has nothing of it in memory.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn load(&self) -> Result<(), StoreError> {
        let finished = self.store.erased_after(self.erased.number()).await?;
        self.erased.add(&finished.seqs);
        if let Some(broadcaster) = &self.broadcaster {
            broadcaster.forget(&finished.seqs);
        }
        self.erased.raise(finished.number);
        Ok(())
    }
}

#[async_trait]
impl Snapshot for ErasedSnapshot {
    fn name(&self) -> &'static str {
        "erasures"
    }

    fn is_current(&self, stored: &Versions) -> bool {
        stored.erasures == self.erased.number()
    }

    async fn renew(&self) -> Result<(), StoreError> {
        self.load().await
    }
}
