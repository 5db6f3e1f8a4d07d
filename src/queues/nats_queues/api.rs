//! Implements [`Queues`] for JetStream.

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::entry::enqueued_at;
use super::queues::NatsQueues;
use crate::bus::PublishError;
use crate::bus::nats::jobs::PRIORITIES;
use crate::limits::QUEUE_READS;
use crate::message::Token;
use crate::queues::dead_letter::DeadLetterCounts;
use crate::queues::{
    Enqueued, Job, LeaseRequest, LeasedJob, NewJob, QueueConfig, QueueError, QueueState, Queues,
    Settled, Settlement,
};
use crate::store::jobs::{JobCounts, QueueRow};
use crate::store::work::DeadLetter;

impl NatsQueues {
    async fn state(
        &self,
        row: QueueRow,
        letters: &DeadLetterCounts,
    ) -> Result<QueueState, QueueError> {
        let counts = self.jobs.counts(&row.name).await?;
        let nacked = self.store.recorded_delays(&row.name).await?.min(counts.pending);
        let mut oldest = None;
        for priority in PRIORITIES {
            let first = self.jobs.oldest(&row.name, priority).await?;
            oldest = [oldest, first.map(|raw| enqueued_at(&raw))].into_iter().flatten().min();
        }
        let counts = JobCounts {
            waiting: counts.waiting,
            leased: counts.pending - nacked,
            delayed: counts.scheduled + nacked,
        };
        Ok(QueueState::of(row, counts, oldest, self.clock.now(), letters))
    }
}

#[async_trait]
impl Queues for NatsQueues {
    async fn put(&self, queue: &Token, config: &QueueConfig) -> Result<bool, QueueError> {
        let created = self.configs.put(queue.as_str(), config).await?;
        self.ready(queue.as_str()).await?;
        Ok(created)
    }

    async fn held(&self) -> Result<u64, QueueError> {
        Ok(self.jobs.total_jobs().await?)
    }

    async fn enqueue(&self, queue: &Token, jobs: &[NewJob]) -> Vec<Result<Enqueued, QueueError>> {
        let now = self.clock.now();
        let encoded: Vec<Job> = jobs.iter().map(|job| job.encode(Uuid::now_v7(), now)).collect();
        let results = self.enqueue_all(queue.as_str(), jobs, &encoded).await;
        self.wake(queue.as_str());
        results.unwrap_or_else(|error| {
            let of_each = encoded.iter().map(|job| match &error {
                QueueError::BusUnavailable(text) => {
                    QueueError::Bus { id: job.id, source: PublishError::NotSent(text.clone()) }
                }
                other => other.clone(),
            });
            of_each.map(Err).collect()
        })
    }

    async fn lease(
        &self,
        queue: &Token,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        self.lease_or_wait(queue.as_str(), request, hurry).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Vec<Result<Settled, QueueError>> {
        let settled = self.settle_all(settlements).await;
        self.done.count(settlements, &settled);
        settled
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueState>, QueueError> {
        let letters = DeadLetterCounts::load(&self.store).await?;
        let rows = self.store.queues(after, limit).await?;
        let states = stream::iter(rows).map(|row| self.state(row, &letters));
        states.buffered(QUEUE_READS).try_collect().await
    }

    async fn get(&self, queue: &Token) -> Result<Option<QueueState>, QueueError> {
        if self.find(queue.as_str()).await?.is_none() {
            return Ok(None);
        }
        let Some(row) = self.store.queue(queue.as_str()).await? else { return Ok(None) };
        let letters = DeadLetterCounts::load(&self.store).await?;
        self.state(row, &letters).await.map(Some)
    }

    async fn delete(&self, queue: &Token, force: bool) -> Result<bool, QueueError> {
        self.delete_queue(queue.as_str(), force).await
    }

    async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError> {
        self.redrive_job(letter).await
    }
}
