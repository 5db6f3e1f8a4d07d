//! Counts the jobs that are done, for `/v1/stats`.
//!
//! Invariant: a job counts once, when its ack succeeds. The count reaches the store within
//! [`TOTALS_FLUSH`], and at shutdown; a killed process loses at most that much of the count, and no job.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::error::QueueError;
use super::settlement::{LeaseAction, Settled, Settlement};
use crate::limits::TOTALS_FLUSH;
use crate::store::Store;

/// The number of jobs done that is not in the store yet.
pub struct DoneCounter {
    store: Arc<dyn Store>,
    done: AtomicU64,
}

impl DoneCounter {
    /// A counter that adds to the number in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, done: AtomicU64::new(0) }
    }

    /// Counts the acks that succeeded; `results` are those of `settlements`, in order.
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

    /// Writes the count to the store until cancelled, and once more then.
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
