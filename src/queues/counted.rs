//! Counts the jobs that are done, for `/v1/stats`, whichever queues do the work.
//!
//! Invariant: a job counts once, when its acknowledgement is answered with success. What was
//! counted reaches the store within [`TOTALS_FLUSH`], and at the end; a killed process
//! loses no more than that of the count, and nothing of the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    Enqueued, LeaseAction, LeaseRequest, LeasedJob, NewJob, QueueConfig, QueueError, QueueState,
    Queues, Settled, Settlement,
};
use crate::limits::TOTALS_FLUSH;
use crate::message::Token;
use crate::store::Store;
use crate::store::work::DeadLetter;

/// Queues that count.
pub struct CountedQueues {
    queues: Arc<dyn Queues>,
    store: Arc<dyn Store>,
    done: AtomicU64,
}

impl CountedQueues {
    /// Counts what these do.
    #[must_use]
    pub fn new(queues: Arc<dyn Queues>, store: Arc<dyn Store>) -> Self {
        Self { queues, store, done: AtomicU64::new(0) }
    }

    /// Keeps the count in the store until cancelled, and once more then.
    pub async fn keep(self: Arc<Self>, cancel: CancellationToken) {
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
            tracing::debug!(%error, "the count of jobs done could not be kept");
            self.done.fetch_add(done, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Queues for CountedQueues {
    async fn put(&self, queue: &Token, config: &QueueConfig) -> Result<bool, QueueError> {
        self.queues.put(queue, config).await
    }

    async fn held(&self) -> Result<u64, QueueError> {
        self.queues.held().await
    }

    async fn enqueue(&self, queue: &Token, jobs: &[NewJob]) -> Vec<Result<Enqueued, QueueError>> {
        self.queues.enqueue(queue, jobs).await
    }

    async fn lease(
        &self,
        queue: &Token,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        self.queues.lease(queue, request, hurry).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Vec<Result<Settled, QueueError>> {
        let settled = self.queues.settle(settlements).await;
        let acks =
            settlements.iter().map(|settlement| matches!(settlement.action, LeaseAction::Ack));
        let done = acks.zip(&settled).filter(|(ack, settled)| *ack && settled.is_ok()).count();
        self.done.fetch_add(done as u64, Ordering::Relaxed);
        settled
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueState>, QueueError> {
        self.queues.list(after, limit).await
    }

    async fn get(&self, queue: &Token) -> Result<Option<QueueState>, QueueError> {
        self.queues.get(queue).await
    }

    async fn delete(&self, queue: &Token, force: bool) -> Result<bool, QueueError> {
        self.queues.delete(queue, force).await
    }

    async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError> {
        self.queues.redrive(letter).await
    }
}
