//! Queues found, created and deleted.
//!
//! **A queue exists** if the store has its configuration, or the stream has a job of it. Such a job was
//! published by another NATS client, or by a server that did not know yet that the queue was deleted. A
//! request that finds such a job (a lease or a GET), or the sweep of the server that enqueued it, creates the
//! queue with the default configuration.
//!
//! **Deletion**, while other servers may have the configuration in their cache:
//! 1. Pause the consumers, so that nothing is leased from here on. Pending jobs refuse the deletion.
//! 2. Remove the jobs up to the last sequence that the stream had before; a job that comes in meanwhile stays
//!    in the stream, and creates the queue again.
//! 3. Remove the consumers, then the configuration.
//!
//! A server that creates or removes consumers holds the row lock of the queue in the store: nats-server frees a
//! consumer's name before it removes the files, and a consumer that is created in between loses its own files.
//! With the lock, the server first checks that the queue still exists, so that no consumers without a
//! configuration are left behind, even if a server dies.
//!
//! **A queue created again** does not recognise earlier message ids: a job that was deleted with its queue is not a
//! duplicate when it is enqueued again ([`super::entry::msg_id`]).

use super::queues::{ConsumerSettings, NatsQueues};
use crate::limits::{
    JOB_SWEEP_ROWS, LEASE_MARGIN, MAX_QUEUE_CREATE_ATTEMPTS, QUEUE_CACHE, QUEUE_PAUSE,
};
use crate::queues::QueueError;
use crate::store::jobs::QueueRow;

impl NatsQueues {
    /// A queue's configuration; `None` if the queue does not exist.
    pub(super) async fn find(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        if let Some(row) = self.configs.get(queue).await? {
            return Ok(Some(row));
        }
        self.applied.lock().remove(queue);
        if !self.jobs.has_jobs(queue).await? {
            return Ok(None);
        }
        self.configs.get_or_create(queue).await.map(Some)
    }

    /// The same, once the queue's consumers exist and have this configuration.
    pub(super) async fn ready(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            let Some(row) = self.find(queue).await? else { return Ok(None) };
            if self.apply(&row).await? {
                return Ok(Some(row));
            }
        }
        Err(QueueError::Overloaded)
    }

    /// The same; a queue that does not exist is created.
    pub(super) async fn create_ready(&self, queue: &str) -> Result<QueueRow, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            let row = self.configs.get_or_create(queue).await?;
            if self.apply(&row).await? {
                return Ok(row);
            }
        }
        Err(QueueError::Overloaded)
    }

    /// Creates or updates a queue's consumers; `false` if the queue was deleted or created again meanwhile.
    async fn apply(&self, row: &QueueRow) -> Result<bool, QueueError> {
        let queue = row.name.as_str();
        let ack_wait = row.longest_lease.max(row.lease) + LEASE_MARGIN;
        let wanted: ConsumerSettings = (ack_wait, row.max_deliver, row.incarnation);
        let is_applied = || self.applied.lock().get(queue) == Some(&wanted);
        if is_applied() {
            return Ok(true);
        }
        let _permit = self.changes.acquire().await;
        if is_applied() {
            return Ok(true);
        }
        // While the store is unavailable no server deletes a queue, so this goes on without the lock.
        let lock = self.store.lock_queue(queue).await;
        match self.configs.reload(queue).await {
            Ok(Some(now)) if now.incarnation != row.incarnation => return Ok(false),
            Ok(None) => return Ok(false),
            // Another server may be deleting it.
            Ok(Some(_)) if lock.is_err() => return Ok(false),
            Ok(Some(_)) | Err(QueueError::Store(_)) => {}
            Err(error) => return Err(error),
        }
        self.jobs.ensure_queue(queue, ack_wait, row.max_deliver).await?;
        self.applied.lock().insert(queue.to_owned(), wanted);
        drop(lock);
        Ok(true)
    }

    /// Deletes a queue; whether it existed.
    pub(super) async fn delete_queue(&self, queue: &str, force: bool) -> Result<bool, QueueError> {
        if self.find(queue).await?.is_none() {
            return Ok(false);
        }
        // A job that was given up must not count as one that waits.
        for (recorded, seq) in self.store.exhausted_records(JOB_SWEEP_ROWS).await? {
            if recorded == queue {
                self.give_up_expired(queue, seq).await?;
            }
        }
        self.give_up_exhausted(queue).await?;
        let _permit = self.changes.acquire().await;
        let lock = self.store.lock_queue(queue).await?;
        self.jobs.pause(queue, Some(self.clock.now() + QUEUE_PAUSE)).await?;
        let deleted = self.delete_paused(queue, force).await;
        if !matches!(deleted, Ok(true))
            && let Err(error) = self.jobs.pause(queue, None).await
        {
            tracing::debug!(queue, %error, "the queue stays paused until its pause ends by itself");
        }
        drop(lock);
        deleted
    }

    async fn delete_paused(&self, queue: &str, force: bool) -> Result<bool, QueueError> {
        // The sequence before the configuration: jobs up to it belong to no queue that is created later.
        let last = self.jobs.last_seq().await?;
        let Some(row) = self.configs.reload(queue).await? else { return Ok(false) };
        let counts = self.jobs.counts(queue).await?;
        if counts.pending > self.store.recorded_delays(queue).await? {
            return Err(QueueError::QueueLeased);
        }
        if force {
            self.jobs.purge(queue, last).await?;
        } else if self.jobs.has_jobs(queue).await? {
            return Err(QueueError::QueueNotEmpty);
        }
        self.jobs.remove_consumers(queue).await?;
        self.applied.lock().remove(queue);
        let deleted = self.store.delete_queue(queue, row.incarnation, force).await?;
        self.configs.remove(queue);
        // The memory bus may have left jobs in the store before the switch.
        QueueError::unless_deleted(deleted)
    }

    /// Makes sure that queues to which jobs were enqueued still exist; a queue that did not is created again.
    pub(super) async fn verify_queues(&self) -> Result<(), QueueError> {
        let unverified = self.unverified.lock().clone();
        for (queue, at) in unverified {
            let learned = self.configs.read_at(&queue);
            if learned.is_some_and(|learned| learned <= at && learned.elapsed() < QUEUE_CACHE) {
                continue;
            }
            if learned.is_none_or(|learned| learned <= at) {
                self.find(&queue).await?;
            }
            let mut unverified = self.unverified.lock();
            if unverified.get(&queue) == Some(&at) {
                unverified.remove(&queue);
            }
        }
        Ok(())
    }
}
