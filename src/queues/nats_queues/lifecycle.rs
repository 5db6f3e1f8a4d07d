//! Finds, creates and deletes queues.
//!
//! **A queue exists** if the store has its configuration, or if the stream has a job of it. Such a job was
//! published by another NATS client, or by a server that did not know yet that the queue was deleted. If a
//! request (a lease or a GET) finds such a job, or if the sweep of the server that enqueued it does, the
//! queue is created with the default configuration.
//!
//! **Deletion** must be safe while other servers have the configuration in their cache:
//! 1. Pause the consumers, so that nothing more is leased. If deliveries are still pending, refuse the
//!    deletion.
//! 2. Remove the jobs up to the last sequence that the stream had before. A job that is published later stays
//!    in the stream, and creates the queue again.
//! 3. Remove the consumers, then the configuration.
//!
//! A server that creates or removes consumers holds the queue's row lock in the store. nats-server frees a
//! consumer's name before it removes the files; a consumer that is created in between loses its own files.
//! The server that holds the lock first checks that the queue still exists, so that even after a crash no
//! consumers are left without a configuration.
//!
//! **A queue that is created again** does not recognise earlier message ids. So a job that was deleted with
//! its queue can be enqueued again and is not taken for a duplicate ([`super::entry::msg_id`]).

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

    /// Like `find`, and makes the queue's consumers exist with this configuration before it returns.
    pub(super) async fn ready(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            let Some(row) = self.find(queue).await? else { return Ok(None) };
            if self.apply(&row).await? {
                return Ok(Some(row));
            }
        }
        Err(QueueError::Overloaded)
    }

    /// Like `ready`, but creates the queue if it does not exist.
    pub(super) async fn create_ready(&self, queue: &str) -> Result<QueueRow, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            let row = self.configs.get_or_create(queue).await?;
            if self.apply(&row).await? {
                return Ok(row);
            }
        }
        Err(QueueError::Overloaded)
    }

    /// Creates or updates a queue's consumers. Returns `false` if the queue was deleted, or deleted and
    /// created again, meanwhile.
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
        // If the store is unavailable, there is no lock, but then no server can delete a queue either.
        let lock = self.store.lock_queue(queue).await;
        match self.configs.reload(queue).await {
            Ok(Some(now)) if now.incarnation != row.incarnation => return Ok(false),
            Ok(None) => return Ok(false),
            // Without the lock, another server may be deleting the queue.
            Ok(Some(_)) if lock.is_err() => return Ok(false),
            Ok(Some(_)) | Err(QueueError::Store(_)) => {}
            Err(error) => return Err(error),
        }
        self.jobs.ensure_queue(queue, ack_wait, row.max_deliver).await?;
        self.applied.lock().insert(queue.to_owned(), wanted);
        drop(lock);
        Ok(true)
    }

    /// Deletes a queue. Returns whether it existed.
    pub(super) async fn delete_queue(&self, queue: &str, force: bool) -> Result<bool, QueueError> {
        if self.find(queue).await?.is_none() {
            return Ok(false);
        }
        // A job that was given up must not count as a waiting job.
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
        // Read before the configuration: a queue that is created later has no job up to this sequence.
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
        // Refused if the store still has jobs of the queue, from before a switch from the memory bus.
        QueueError::unless_deleted(deleted)
    }

    /// Checks that queues to which jobs were enqueued still exist. One that was deleted but has a job is
    /// created again.
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
