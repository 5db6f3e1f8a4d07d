//! State and helpers that all operations on queues in JetStream share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use uuid::Uuid;

use crate::bus::nats::jobs::{NatsJobs, OutgoingJob};
use crate::bus::{Ack, PublishError};
use crate::clock::Clock;
use crate::limits::{JOB_FRESH, MAX_LEASE_WAITERS, MAX_QUEUE_CHANGES, STORE_LOOKUP_TIMEOUT};
use crate::queues::waiters::Waiters;
use crate::queues::{DoneCounter, QueueConfigCache};
use crate::seal::Sealer;
use crate::store::Store;
use crate::store::jobs::RecordedAttempt;

/// The settings of a queue's consumers: ack wait, most deliveries, and the id of the queue's creation.
pub(super) type ConsumerSettings = (Duration, u32, Option<Uuid>);

/// Work queues in JetStream.
pub struct NatsQueues {
    pub(super) jobs: NatsJobs,
    pub(super) store: Arc<dyn Store>,
    pub(super) configs: QueueConfigCache,
    pub(super) sealer: Sealer,
    pub(super) clock: Clock,
    pub(super) done: Arc<DoneCounter>,
    /// The settings that this server last applied to the consumers of each queue.
    pub(super) applied: Mutex<HashMap<String, ConsumerSettings>>,
    /// When this server last published a job that is due at once, by queue and priority.
    pub(super) published: Mutex<HashMap<(String, &'static str), Instant>>,
    /// The requests that wait at each queue. One of them polls at a time.
    pub(super) polls: Waiters<Poll>,
    pub(super) waiters: Semaphore,
    /// Permits to create or remove consumers, so that this server does so for few queues at a time.
    pub(super) changes: Semaphore,
    /// One permit, so that polls of queues that do not exist run one at a time.
    pub(super) unknown_polls: Semaphore,
    /// The queues to which a job was enqueued, and when. A queue is removed once it was seen to exist after
    /// that.
    pub(super) unverified: Mutex<HashMap<String, Instant>>,
}

/// What the requests at one queue share: the lock that the polling one holds, and the notification that wakes
/// it.
#[derive(Default)]
pub(super) struct Poll {
    pub lock: tokio::sync::Mutex<()>,
    pub wake: Notify,
}

impl NatsQueues {
    /// `sealer` uses the secret that the store keeps.
    #[must_use]
    pub fn new(
        jobs: NatsJobs,
        store: Arc<dyn Store>,
        sealer: Sealer,
        clock: Clock,
        done: Arc<DoneCounter>,
    ) -> Self {
        Self {
            jobs,
            configs: QueueConfigCache::new(Arc::clone(&store)),
            store,
            sealer,
            clock,
            done,
            applied: Mutex::default(),
            published: Mutex::default(),
            polls: Waiters::new(),
            waiters: Semaphore::new(MAX_LEASE_WAITERS),
            changes: Semaphore::new(MAX_QUEUE_CHANGES),
            unknown_polls: Semaphore::new(1),
            unverified: Mutex::default(),
        }
    }

    /// Publishes jobs, and records when for those that are due at once.
    pub(super) async fn publish(&self, jobs: &[OutgoingJob]) -> Vec<Result<Ack, PublishError>> {
        let acks = self.jobs.publish(jobs).await;
        let now = Instant::now();
        let mut published = self.published.lock();
        published.retain(|_, at| at.elapsed() < JOB_FRESH);
        let due = jobs.iter().filter(|job| job.due.is_none());
        published.extend(due.map(|job| ((job.queue.clone(), job.priority), now)));
        drop(published);
        acks
    }

    /// Wakes the request that polls a queue, if there is one.
    pub(super) fn wake(&self, queue: &str) {
        self.polls.notify(queue, |poll| poll.wake.notify_one());
    }

    /// Records attempts in the store. If the store cannot record them, a dead letter merely lacks the
    /// reasons.
    pub(super) async fn record(&self, queue: &str, attempts: &[RecordedAttempt]) {
        if attempts.is_empty() {
            return;
        }
        let recorded = self.store.record_attempts(queue, attempts);
        if let Ok(Err(error)) = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, recorded).await {
            tracing::debug!(queue, %error, "the reasons of failed attempts were not stored");
        }
    }
}
