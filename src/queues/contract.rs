//! The operations of work queues, the same on every bus.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::QueueConfig;
use super::dead_letter::DeadLetterCounts;
use super::error::QueueError;
use super::job::NewJob;
use super::settlement::{Settled, Settlement};
use crate::limits::{MAX_LEASE_JOBS, MAX_LEASE_WAIT_S};
use crate::message::{BodyError, ObjectReader, Token, TraceContext};
use crate::store::jobs::{JobCounts, QueueRow};
use crate::store::work::DeadLetter;

/// The acknowledgement of an enqueued job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The job's id.
    pub id: Uuid,
    /// The job's sequence in the queue's log.
    pub seq: u64,
    /// Whether the id was already known. Then nothing was added.
    pub duplicate: bool,
}

/// A worker's request for jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The most jobs to lease.
    pub max: usize,
    /// How long to wait for the first job.
    pub wait: Duration,
    /// The worker's name. It appears in the error of an attempt whose lease ran out.
    pub worker: Option<Token>,
}

impl LeaseRequest {
    /// Parses the body of a lease request. An empty body requests one job, without waiting.
    ///
    /// # Errors
    /// The body is not JSON, or breaks rules (all of them are reported).
    pub fn parse(json: &[u8]) -> Result<Self, BodyError> {
        let mut form = ObjectReader::parse_optional(json)?;
        let max = form.whole("max", 1, MAX_LEASE_JOBS as u64).unwrap_or(1);
        let wait = form.seconds("wait_s", 0, MAX_LEASE_WAIT_S).unwrap_or_default();
        let worker = form.text("worker", str::parse);
        let max = usize::try_from(max).unwrap_or(MAX_LEASE_JOBS);
        form.finish("a lease request", Some(Self { max, wait, worker }))
    }
}

/// A job that belongs to one worker until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedJob {
    /// The job's encoding.
    pub body: Bytes,
    /// The number of this attempt; the first is 1.
    pub attempt: u32,
    /// The token that settles the lease.
    pub token: String,
    /// When the lease runs out.
    pub expires_at: DateTime<Utc>,
    /// The trace that the job belongs to.
    pub trace: Option<Arc<TraceContext>>,
}

/// A queue's configuration and how many jobs it holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// The queue's name.
    pub name: String,
    /// The queue's configuration.
    pub config: QueueConfig,
    /// Jobs that could be leased now.
    pub waiting: u64,
    /// Jobs leased now; on NATS this includes jobs whose lease has just run out.
    pub leased: u64,
    /// Jobs that are not due yet.
    pub delayed: u64,
    /// The age of the oldest job that is waiting or leased.
    pub oldest_age: Option<Duration>,
    /// Dead letters of the queue.
    pub dead_letters: u64,
}

impl QueueState {
    /// The state of a queue, from its configuration and counts. `oldest` is when the oldest job that is
    /// waiting or leased was enqueued.
    pub(super) fn of(
        row: QueueRow,
        counts: JobCounts,
        oldest: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        dead_letters: &DeadLetterCounts,
    ) -> Self {
        Self {
            config: QueueConfig::from(&row),
            waiting: counts.waiting,
            leased: counts.leased,
            delayed: counts.delayed,
            oldest_age: oldest.map(|at| (now - at).to_std().unwrap_or_default()),
            dead_letters: dead_letters.of(&row.name),
            name: row.name,
        }
    }
}

/// The operations of work queues, the same on every bus.
#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// Creates a queue or changes its configuration. Returns whether it was created.
    async fn put(&self, queue: &Token, config: &QueueConfig) -> Result<bool, QueueError>;

    /// How many jobs all queues hold together: waiting, leased and delayed. Costs one request to bus or
    /// store, whatever the number of queues.
    async fn held(&self) -> Result<u64, QueueError>;

    /// Enqueues jobs in order. Returns one result for each, in order. Creates the queue if it does not exist.
    async fn enqueue(&self, queue: &Token, jobs: &[NewJob]) -> Vec<Result<Enqueued, QueueError>>;

    /// Leases jobs, higher priorities first. Returns an empty list if no job came before the request's wait
    /// was over or `hurry` was cancelled. For a queue that does not exist it waits too, and does not create
    /// it.
    async fn lease(
        &self,
        queue: &Token,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError>;

    /// Ends or extends leases. Returns one result for each, in order.
    async fn settle(&self, settlements: &[Settlement]) -> Vec<Result<Settled, QueueError>>;

    /// A page of at most `limit` queues in order of name, beginning after the name `after`.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueState>, QueueError>;

    /// The state of one queue; `None` if it does not exist.
    async fn get(&self, queue: &Token) -> Result<Option<QueueState>, QueueError>;

    /// Deletes a queue; with `force`, also its waiting and delayed jobs. Returns whether the queue existed.
    /// Refused while a job is leased. Dead letters stay. If another server accepts a job for the queue after
    /// that, the queue is created again.
    async fn delete(&self, queue: &Token, force: bool) -> Result<bool, QueueError>;

    /// Turns a dead letter into a job of its queue, due now, with the count of attempts at zero. Creates the
    /// queue if it does not exist. Returns `false` if the dead letter no longer exists, since another request
    /// redrove or discarded it. On an error the dead letter stays.
    async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError>;
}
