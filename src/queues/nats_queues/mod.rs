//! Queues in JetStream, their rules and the errors of attempts in the store.
//!
//! **When a lease is over.** Its token carries its first end, counted from before the
//! pull was sent, so from before JetStream began its ack wait, which is longer by
//! [`LEASE_MARGIN`]. Before that end nobody else can have been given the job; after it,
//! only an extension in the ledger makes the token good. A token is therefore good if it
//! is unused and the time is before its first end, or before the end that the ledger tells.
//! Clocks of servers may differ by half the margin.
//!
//! **Ending one.** First the ledger: the end is written where nothing stands yet (or in
//! place of an extension), and of two that try one wins, on whatever servers. Then the
//! dead letter, if there is to be one. Then the ack, unless the margin is nearly spent: an
//! ack or NAK that comes later could be taken for one of the next delivery.
//! - Killed between ledger and ack: the job is delivered again when its ack wait is over.
//!   Whoever leases it then looks into the ledger and, finding that it was acked, completes
//!   that. After a nack or a fail it is simply another attempt. So a job may run again
//!   (at least once), and it is never lost.
//! - The answer was lost and the client tries again: 410, and an ack is completed.
//! - The dead letter cannot be kept: the lease is opened again in the ledger, the client
//!   gets a 503, and the lease runs on.
//!
//! **Running out.** JetStream delivers again after the ack wait, or, after `max_deliver`
//! deliveries, gives the job up. Nats 2.15 does so, and tells it by an advisory, only when the next
//! pull comes; so a lease other than the first is noted in the store with the time when it
//! is over, and a sweep buries what is noted, over, and the last. The dead letter is kept first,
//! then the job removed. A job that the ledger says was acked is removed instead.
//!
//! **Attempts** are JetStream's deliveries: one that never reached its worker, because
//! the server or the connection died, counts too. Reasons are kept in the store on
//! nack; while the store is away a nack is carried out without its reason.
//!
//! **Shorter leases.** JetStream's ack wait follows the longest lease that may still be
//! held, so a queue given a shorter lease lets jobs run out by the old one until
//! leases of before are over.

mod dead_letters;
mod leasing;
mod lifecycle;
mod settling;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dead_letter::DeadLetterCounts;
use super::waiters::Waiters;
use super::{
    DoneCounter, Enqueued, Job, LeaseRequest, LeasedJob, NewJob, Priority, QueueConfig,
    QueueConfigCache, QueueError, QueueState, Queues, Sealer, Settled, Settlement, content,
};
use crate::bus::nats::jobs::{NatsJobs, OutgoingJob};
use crate::bus::{Ack, PublishError};
use crate::clock::Clock;
use crate::limits::{JOB_FRESH, MAX_LEASE_WAITERS, MAX_QUEUE_CHANGES};
use crate::message::Token;
use crate::store::Store;
use crate::store::jobs::{JobCounts, QueueRow};
use crate::store::work::DeadLetter;

const PRIORITIES: [&str; 3] =
    [Priority::High.as_str(), Priority::Normal.as_str(), Priority::Low.as_str()];

/// What a queue's consumers were last told: ack wait, attempts, and of which making.
type Told = (Duration, u32, Option<Uuid>);

/// Queues in JetStream.
pub struct NatsQueues {
    jobs: NatsJobs,
    store: Arc<dyn Store>,
    configs: QueueConfigCache,
    sealer: Sealer,
    clock: Clock,
    done: Arc<DoneCounter>,
    told: Mutex<HashMap<String, Told>>,
    /// When this server last published a job that is due, by queue and priority.
    fresh: Mutex<HashMap<(String, &'static str), Instant>>,
    /// One at a time polls for those who wait at a queue; the others wait their turn.
    turns: Waiters<Turn>,
    waiters: Semaphore,
    /// Who makes or removes consumers of queues.
    changes: Semaphore,
    /// Those who wait for queues that are not there look one after the other.
    strangers: Semaphore,
    /// When each queue last took a job in here, until it was seen to be there since.
    taken: Mutex<HashMap<String, Instant>>,
}

/// Whose turn it is to poll, and what wakes it.
#[derive(Default)]
struct Turn {
    polling: tokio::sync::Mutex<()>,
    bell: tokio::sync::Notify,
}

impl NatsQueues {
    /// On this connection and this store, with the secret that the store keeps.
    #[must_use]
    pub fn new(
        jobs: NatsJobs,
        store: Arc<dyn Store>,
        sealer: Sealer,
        clock: Clock,
        done: Arc<DoneCounter>,
    ) -> Self {
        Self {
            done,
            jobs,
            configs: QueueConfigCache::new(Arc::clone(&store)),
            store,
            sealer,
            clock,
            told: Mutex::default(),
            fresh: Mutex::default(),
            turns: Waiters::new(),
            waiters: Semaphore::new(MAX_LEASE_WAITERS),
            changes: Semaphore::new(MAX_QUEUE_CHANGES),
            strangers: Semaphore::new(1),
            taken: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        self.told.lock()
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<(String, &'static str), Instant>> {
        self.fresh.lock()
    }

    /// Publishes, and remembers where something is due.
    async fn send(&self, outgoing: &[OutgoingJob]) -> Vec<Result<Ack, PublishError>> {
        let acks = self.jobs.publish(outgoing).await;
        let now = Instant::now();
        self.fresh().retain(|_, at| at.elapsed() < JOB_FRESH);
        for job in outgoing.iter().filter(|job| job.due.is_none()) {
            self.fresh().insert((job.queue.clone(), job.priority), now);
        }
        acks
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.taken.lock()
    }

    /// Wakes who polls a queue, if anybody does.
    fn ring(&self, queue: &str) {
        self.turns.notify(queue, |turn| turn.bell.notify_one());
    }

    /// What is to be published of a new job.
    fn outgoing(&self, rules: &QueueRow, new: &NewJob, job: &Job) -> OutgoingJob {
        let delay = chrono::Duration::from_std(new.delay).unwrap_or_default();
        let later = (!new.delay.is_zero())
            .then(|| (self.clock.now() + delay, Uuid::new_v4().simple().to_string()));
        OutgoingJob {
            queue: rules.name.clone(),
            priority: job.priority.as_str(),
            msg_id: lifecycle::msg_id(rules, job.id),
            id_is_clients: new.id.is_some(),
            due: later,
            subject: String::new(),
            body: job.body.clone(),
        }
        .addressed()
    }

    /// What a publish's ack says of the job.
    async fn enqueued(
        &self,
        rules: &QueueRow,
        new: &NewJob,
        job: &Job,
        mut ack: Ack,
    ) -> Result<Enqueued, QueueError> {
        let (id, mut made) = (job.id, rules.incarnation);
        while ack.duplicate {
            if let Some(first) = self.jobs.entry(ack.seq).await? {
                if content(&first.payload) != job.content() {
                    return Err(QueueError::Conflict { id, seq: ack.seq });
                }
                break;
            }
            // A job that is gone cannot be compared: its id is taken at its word. It may have been
            // dropped with its queue, though, unless that is still the same.
            self.configs.reload(&rules.name).await?;
            let now = self.make_ready(&rules.name).await?;
            if now.incarnation == made {
                break;
            }
            made = now.incarnation;
            let sent = self.send(&[self.outgoing(&now, new, job)]).await.pop();
            ack = sent
                .ok_or(QueueError::Overloaded)?
                .map_err(|source| QueueError::Bus { id, source })?;
        }
        Ok(Enqueued { id, seq: ack.seq, duplicate: ack.duplicate })
    }

    /// Why a job cannot be published.
    fn refusal(new: &NewJob, job: &Job, delays: &Result<(), String>) -> Option<QueueError> {
        if let Some(bytes) = job.excess() {
            return Some(QueueError::TooLarge { bytes });
        }
        let reason = delays.as_ref().err().filter(|_| !new.delay.is_zero())?;
        Some(QueueError::NoDelay(reason.clone()))
    }

    async fn publish(
        &self,
        queue: &str,
        new: &[NewJob],
        encoded: &[Job],
    ) -> Result<Vec<Result<Enqueued, QueueError>>, QueueError> {
        let rules = self.make_ready(queue).await?;
        let delays = self.jobs.delays().await?;
        let pairs = || new.iter().zip(encoded);
        let refusals: Vec<Option<QueueError>> =
            pairs().map(|(new, job)| Self::refusal(new, job, &delays)).collect();
        let outgoing: Vec<OutgoingJob> = pairs()
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none())
            .map(|((new, job), _)| self.outgoing(&rules, new, job))
            .collect();
        let mut acks = self.send(&outgoing).await.into_iter();
        self.took_in(queue);
        let mut answers = Vec::with_capacity(encoded.len());
        for ((new, job), refusal) in pairs().zip(refusals) {
            answers.push(match refusal {
                Some(refusal) => Err(refusal),
                None => match acks.next() {
                    Some(Ok(ack)) => self.enqueued(&rules, new, job, ack).await,
                    Some(Err(source)) => Err(QueueError::Bus { id: job.id, source }),
                    None => Err(QueueError::Overloaded),
                },
            });
        }
        Ok(answers)
    }

    async fn state(
        &self,
        row: QueueRow,
        letters: &DeadLetterCounts,
    ) -> Result<QueueState, QueueError> {
        let held = self.jobs.counts(&row.name, &PRIORITIES).await?;
        let noted = self.store.recorded_delays(&row.name).await?.min(held.pending);
        let mut oldest = None;
        for priority in PRIORITIES {
            let first = self.jobs.oldest(&row.name, priority, 1).await?;
            let first = first.map(|raw| leasing::enqueued_at(&raw));
            oldest = [oldest, first].into_iter().flatten().min();
        }
        let now = self.clock.now();
        let counts = JobCounts {
            waiting: held.waiting,
            leased: held.pending - noted,
            delayed: held.scheduled + noted,
        };
        Ok(QueueState::of(row, counts, oldest, now, letters))
    }
}

#[async_trait]
impl Queues for NatsQueues {
    async fn put(&self, queue: &Token, config: &QueueConfig) -> Result<bool, QueueError> {
        let made = self.configs.put(queue.as_str(), config).await?;
        self.ready(queue.as_str()).await?;
        Ok(made)
    }

    async fn held(&self) -> Result<u64, QueueError> {
        Ok(self.jobs.total_jobs().await?)
    }

    async fn enqueue(&self, queue: &Token, jobs: &[NewJob]) -> Vec<Result<Enqueued, QueueError>> {
        let now = self.clock.now();
        let encoded: Vec<Job> = jobs.iter().map(|job| job.encode(Uuid::now_v7(), now)).collect();
        let answers = self.publish(queue.as_str(), jobs, &encoded).await;
        self.ring(queue.as_str());
        answers.unwrap_or_else(|error| {
            let told = encoded.iter().map(|job| match &error {
                QueueError::BusUnavailable(text) => {
                    QueueError::Bus { id: job.id, source: PublishError::NotSent(text.clone()) }
                }
                other => other.clone(),
            });
            told.map(Err).collect()
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
        let mut states = Vec::new();
        for row in self.store.queues(after, limit).await? {
            states.push(self.state(row, &letters).await?);
        }
        Ok(states)
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
        self.redrive(letter).await
    }
}
