//! What the store keeps for work queues: their rules, and, where the memory bus
//! runs, the jobs themselves.
//!
//! Invariants: a lease begins, ends and runs out by the store's own clock. A job
//! leased is in nobody else's hands before its lease is over; an end that comes
//! later, or under another lease, changes nothing. Jobs whose attempts are used up
//! are never leased: they wait to be buried.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
use super::work::{Attempt, RowLock};

/// A queue's rules as the store keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Its name.
    pub name: String,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Attempts before a job is a dead letter.
    pub max_deliver: u32,
    /// Pauses between attempts.
    pub backoff: Vec<Duration>,
    /// The longest lease that may still be held: at least `lease`, more for a
    /// while after it was shortened. Counted to [`crate::limits::QUEUE_CACHE`] beyond.
    pub longest_lease: Duration,
    /// Which making of the queue this is: another one after it was deleted and made again.
    /// `None` where it was made before that was kept.
    pub incarnation: Option<Uuid>,
}

/// What became of the deletion of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueDeletion {
    /// It is gone, with the jobs that waited or were delayed.
    Done,
    /// There is no such queue, or it is another making of it.
    Missing,
    /// A job is leased, or waits to be buried.
    Leased,
    /// It holds jobs, and should not be forced.
    NotEmpty,
}

/// What became of a dead letter's job that should go back to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedriveOutcome {
    /// The job waits in its queue, and the letter is gone.
    Done,
    /// There is no such letter.
    NoDeadLetter,
    /// There is no such queue; the letter stays.
    NoQueue,
}

/// A job to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub id: Uuid,
    /// 0 goes first.
    pub rank: u8,
    /// From now until it may be leased.
    pub delay: Duration,
    /// Its encoding.
    pub body: Bytes,
    /// Under which a repeat is recognised, with a digest of what must be the same then.
    pub identity: Option<(Uuid, [u8; 32])>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedJob {
    /// Its sequence.
    pub seq: u64,
    /// Set when the identity was known: whether the digest was the same.
    pub same: Option<bool>,
}

/// A job leased just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedRow {
    /// Its sequence.
    pub seq: u64,
    /// The number of this attempt, from 1 on.
    pub attempt: u32,
    /// Its encoding.
    pub body: Bytes,
}

/// Jobs leased together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedRows {
    /// The lease of all of them.
    pub lease: Uuid,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// The jobs, in the order of their leasing.
    pub jobs: Vec<LeasedRow>,
}

/// What becomes of a leased job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSettlement {
    /// Done: forget it.
    Done,
    /// Leased again after a while.
    Retry {
        /// From now on.
        delay: Duration,
        /// Why.
        error: String,
    },
    /// The lease is prolonged to this long from now.
    Extend(Duration),
    /// It has failed for good: the lease ends, and it waits to be buried.
    Fail {
        /// Why.
        error: String,
    },
}

/// What became of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobSettled {
    /// The lease was good.
    Done,
    /// It goes on until then.
    Extended(DateTime<Utc>),
    /// The lease was over.
    Lost,
}

/// A job whose attempts are used up, or that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExhaustedJob {
    /// Its queue.
    pub queue: String,
    /// Its sequence.
    pub seq: u64,
    /// How often it was leased.
    pub attempt: u32,
    /// The errors that are known.
    pub attempts: Vec<Attempt>,
    /// Whether a worker said that it failed for good.
    pub failed: bool,
    /// Its encoding.
    pub body: Bytes,
}

/// Jobs of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Due, and not leased.
    pub waiting: u64,
    /// Leased.
    pub leased: u64,
    /// Not due.
    pub delayed: u64,
}

/// An attempt of a job in JetStream that ended badly, noted for its dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAttempt {
    /// The job's sequence in its stream.
    pub seq: u64,
    /// What happened.
    pub attempt: Attempt,
    /// From now until the job may be leased again, or its lease is over.
    pub delay: Duration,
    /// Whether this is what is taken to have happened unless a worker says otherwise:
    /// it gives way to a worker's word, before and after.
    pub guess: bool,
}

/// The store's part in work queues. Every method may be repeated after
/// [`StoreError::Unavailable`]: a lease or an end whose answer was lost shows
/// as a lease that runs out, or as one that is over.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// The secret of all lease tokens: `fresh` if there was none before.
    async fn lease_secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Adds to the number of jobs that were ever done. Repeated, it counts again.
    async fn add_jobs_done(&self, more: u64) -> Result<(), StoreError>;

    /// How many jobs were ever done, in all queues.
    async fn jobs_done(&self) -> Result<u64, StoreError>;

    /// How many jobs the store holds, in all queues.
    async fn jobs_held(&self) -> Result<u64, StoreError>;

    /// A queue's rules.
    async fn queue(&self, name: &str) -> Result<Option<QueueRow>, StoreError>;

    /// Queues after a name, by name.
    async fn queues(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueRow>, StoreError>;

    /// Makes a queue, or gives it these rules unless `keep` is set: `longest_lease` is the
    /// store's own doing, and `made` stays what it was. `None` when there are `most` queues
    /// already; else whether it was made.
    async fn put_queue(
        &self,
        row: &QueueRow,
        keep: bool,
        most: usize,
    ) -> Result<Option<bool>, StoreError>;

    /// Holds a queue's place in JetStream until the hold is dropped, or
    /// [`crate::limits::CONSUMER_LOCK_TIMEOUT`] has passed: two that make and remove its consumers at once
    /// would take each other's files away.
    async fn lock_queue(&self, name: &str) -> Result<Box<dyn RowLock>, StoreError>;

    /// Deletes this making of a queue, with its jobs that wait or are delayed if `force` is
    /// set, and with what is known of ids and attempts; dead letters stay.
    async fn delete_queue(
        &self,
        name: &str,
        made: Option<Uuid>,
        force: bool,
    ) -> Result<QueueDeletion, StoreError>;

    /// Keeps jobs, in order; `None`, and nothing is kept, when there is no such queue.
    async fn add_jobs(
        &self,
        queue: &str,
        jobs: &[JobRow],
    ) -> Result<Option<Vec<AddedJob>>, StoreError>;

    /// Turns a dead letter into a job of the queue, whatever id the job has, in one step:
    /// of two that do so at once one finds no letter.
    async fn redrive_job(
        &self,
        letter: Uuid,
        queue: &str,
        job: &JobRow,
    ) -> Result<RedriveOutcome, StoreError>;

    /// Leases due jobs with fewer than `max_deliver` attempts: lowest rank first, then by due time.
    async fn lease_jobs(
        &self,
        queue: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
        worker: Option<&str>,
    ) -> Result<LeasedRows, StoreError>;

    /// Time until something may be leased, zero when it is now; `None` when there is nothing.
    async fn next_job(&self, queue: &str, max_deliver: u32)
    -> Result<Option<Duration>, StoreError>;

    /// Ends or prolongs leases, each by sequence and lease.
    async fn settle_jobs(
        &self,
        ends: &[(u64, Uuid, JobSettlement)],
    ) -> Result<Vec<JobSettled>, StoreError>;

    /// Jobs that wait to be buried.
    async fn exhausted_jobs(&self, limit: usize) -> Result<Vec<ExhaustedJob>, StoreError>;

    /// Forgets spent jobs, and identities that are out of their window.
    async fn remove_exhausted_jobs(&self, seqs: &[u64]) -> Result<(), StoreError>;

    /// What a queue holds, and its oldest job that is waiting or leased.
    async fn job_counts(&self, queue: &str) -> Result<(JobCounts, Option<Bytes>), StoreError>;

    /// Notes attempts of jobs in JetStream that ended badly.
    async fn record_attempts(
        &self,
        queue: &str,
        notes: &[RecordedAttempt],
    ) -> Result<(), StoreError>;

    /// What is noted of a job.
    async fn recorded_attempts(&self, queue: &str, seq: u64) -> Result<Vec<Attempt>, StoreError>;

    /// Forgets what is noted of jobs that are gone.
    async fn delete_attempts(&self, queue: &str, seqs: &[u64]) -> Result<(), StoreError>;

    /// Jobs in JetStream whose last noted attempt is over, and was the last they have.
    async fn exhausted_records(&self, limit: usize) -> Result<Vec<(String, u64)>, StoreError>;

    /// How many jobs are noted by their workers as not due yet.
    async fn recorded_delays(&self, queue: &str) -> Result<u64, StoreError>;
}
