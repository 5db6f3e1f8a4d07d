//! Work queues: each job goes to one worker at a time (contract, section 8).
//!
//! Invariants: a job is acknowledged when it is durable. It is leased to one worker
//! at a time: nobody else gets it before the `lease_expires_at` that the worker was
//! told, and a lease that has ended, by whatever server, ends nothing any more. A job
//! leaves its queue done or as a dead letter, and the dead letter is kept first. So it
//! runs at least once: what a worker does must bear a repeat.
//!
//! [`StoreQueues`] keeps jobs in the store, beside the memory bus; [`NatsQueues`]
//! leaves them to JetStream. A queue's configuration lives in the store in both.

mod config;
mod config_cache;
mod counted;
mod dead_letter;
mod error;
mod job;
mod nats_queues;
mod settlement;
mod sink;
mod store_queues;
mod token;
mod waits;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::message::{DraftError, ObjectReader, Token};
use crate::store::work::DeadLetter;
pub use config::{QueueConfig, in_seconds};
pub use config_cache::QueueConfigCache;
pub use counted::CountedQueues;
pub use error::QueueError;
pub use job::{Job, NewJob, Priority, content};

pub use nats_queues::NatsQueues;
pub use settlement::{LeaseAction, Settlement};
pub use sink::QueueSink;
pub use store_queues::StoreQueues;
pub use token::{Lease, LeaseHandle, Sealer};

/// The queue has the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The job's id.
    pub id: Uuid,
    /// Its sequence in the queue's log.
    pub seq: u64,
    /// Whether the id was there already, so that nothing was added.
    pub duplicate: bool,
}

/// What a worker asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Jobs at most.
    pub max: usize,
    /// How long to wait for the first.
    pub wait: Duration,
    /// Who asks; named where a lease ran out.
    pub worker: Option<Token>,
}

impl LeaseRequest {
    /// Reads the body of a lease request; an empty one asks for one job, now.
    ///
    /// # Errors
    /// No JSON, or every rule that is broken.
    pub fn parse(json: &[u8]) -> Result<Self, DraftError> {
        let mut form = ObjectReader::parse_optional(json)?;
        let most = crate::limits::MAX_LEASE_JOBS;
        let max = form.whole("max", 1, most as u64).unwrap_or(1);
        let wait = form.seconds("wait_s", 0, crate::limits::MAX_LEASE_WAIT_S).unwrap_or_default();
        let worker = form.text("worker", str::parse);
        let max = usize::try_from(max).unwrap_or(most);
        form.finish("a lease request", Some(Self { max, wait, worker }))
    }
}

/// A job that is one worker's until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedJob {
    /// The job's encoding.
    pub body: Bytes,
    /// Which attempt this is, from 1 on.
    pub attempt: u32,
    /// What the lease is ended by.
    pub token: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// How the end of a lease went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is over.
    Ended,
    /// It goes on. The token given first stays good, as does this one.
    Extended {
        /// A token that carries the new end.
        token: String,
        /// The new end.
        expires_at: DateTime<Utc>,
    },
}

/// What a queue holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub config: QueueConfig,
    /// Jobs that could be leased now.
    pub waiting: u64,
    /// Jobs leased now; on NATS also those whose lease just ran out.
    pub leased: u64,
    /// Jobs that are not due yet.
    pub delayed: u64,
    /// Age of the oldest job that is waiting or leased.
    pub oldest_age: Option<Duration>,
    /// Its dead letters.
    pub dead_letters: u64,
}

/// What queues can do.
#[async_trait]
pub trait Queues: Send + Sync + 'static {
    /// Makes a queue or gives it other rules; whether it was made.
    async fn put(&self, queue: &Token, config: &QueueConfig) -> Result<bool, QueueError>;

    /// How many jobs all queues hold together: waiting, leased and delayed. One question, however
    /// many queues there are.
    async fn held(&self) -> Result<u64, QueueError>;

    /// Takes jobs in, in order; one answer each, in order.
    async fn enqueue(&self, queue: &Token, jobs: &[NewJob]) -> Vec<Result<Enqueued, QueueError>>;

    /// Leases jobs, higher priorities first; empty when none came in time, or before
    /// `hurry` was cancelled. A queue that is not there is waited for, and not made.
    async fn lease(
        &self,
        queue: &Token,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError>;

    /// Ends or prolongs leases; one answer each, in order.
    async fn settle(&self, settlements: &[Settlement]) -> Vec<Result<Settled, QueueError>>;

    /// A page of queues by name: those after `after`, at most `limit`.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueState>, QueueError>;

    /// One queue; `None` when nobody made or filled it.
    async fn get(&self, queue: &Token) -> Result<Option<QueueState>, QueueError>;

    /// Deletes a queue, with what waits or is delayed if `force` is set; whether there was one. What
    /// is leased keeps it, and its dead letters stay. A job that is acknowledged later, by any
    /// server, makes it again.
    async fn delete(&self, queue: &Token, force: bool) -> Result<bool, QueueError>;

    /// Turns a dead letter into a job of its queue: no attempt counted, due now; the queue is
    /// made if it is not there. `false` when there was no such letter any more, so that the
    /// job is another's doing. Where it fails the letter stays.
    async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError>;
}
