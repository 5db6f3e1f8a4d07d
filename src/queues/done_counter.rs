//! Counts the jobs that are done, for `/v1/stats`.
//!
//! Invariant: each job is counted once, when its ack succeeds. The count is written to the store every
//! [`TOTALS_FLUSH`] and at shutdown. A process that is killed loses the count since the last write, but no
//! job.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::error::QueueError;
use super::settlement::{LeaseAction, Settled, Settlement};
use crate::limits::TOTALS_FLUSH;
use crate::store::Store;

/// Counts jobs that are done, until the count is added to the store.
pub struct DoneCounter {
    store: Arc<dyn Store>,
    done: AtomicU64,
}

impl DoneCounter {
    /// A counter that adds to the total in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, done: AtomicU64::new(0) }
    }

    /// Counts the acks among `settlements` that succeeded. `results` has their results in the same order.
    pub(super) fn count(
        &self,
        settlements: &[Settlement],
        results: &[Result<Settled, QueueError>],
    ) {
        let acked = |(settlement, result): &(&Settlement, &Result<_, _>)| {
            settlement.action == LeaseAction::Ack && result.is_ok()
        };
        let acked = settlements.iter().zip(results).filter(acked).count();
        self.done.fetch_add(acked as u64, Ordering::Relaxed);
    }

    /// Writes the count to the store regularly until cancelled, and once more at the end.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            let _ = tokio::time::timeout(TOTALS_FLUSH, cancel.cancelled()).await;
            self.flush().await;
        }
    }

    async fn flush(&self) {
        let done = self.done.swap(0, Ordering::Relaxed);
        if done > 0
            && let Err(error) = self.store.add_jobs_done(done).await
        {
            tracing::debug!(%error, "the number of jobs done was not stored; it will be tried again");
            self.done.fetch_add(done, Ordering::Relaxed);
        }
    }
}
