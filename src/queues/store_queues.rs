//! Queues in the store, for the memory bus: one server, so who waits is woken here.
//!
//! Invariant: every step of a job's life is one transaction of the store; nothing
//! is known here that a restart could lose.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ring::digest::{SHA256, digest};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dead_letter::{DeadLetterCounts, failed, letter, refused, used_up};
use super::waits::Waits;
use super::{
    Enqueued, Job, Lease, LeaseAction, LeaseHandle, LeaseRequest, LeasedJob, NewJob, QueueConfig,
    QueueConfigCache, QueueError, QueueState, Queues, Sealer, Settled, Settlement,
};
use crate::clock::Clock;
use crate::limits::{
    JOB_SWEEP, JOB_SWEEP_ROWS, JOB_WAKE, MAX_LEASE_WAITERS, MAX_QUEUE_CREATE_ATTEMPTS,
};
use crate::message::Token;
use crate::store::jobs::{
    AddedJob, ExhaustedJob, JobRow, JobSettled, JobSettlement, LeasedRows, QueueRow, RedriveOutcome,
};
use crate::store::work::DeadLetter;
use crate::store::{Store, StoreError};

/// Queues in the store.
pub struct StoreQueues {
    store: Arc<dyn Store>,
    configs: QueueConfigCache,
    sealer: Sealer,
    clock: Clock,
    /// Rung when a queue gets something that may be leased.
    bells: Waits<Notify>,
    waiters: Semaphore,
    /// Held while spent jobs are buried: once at a time is enough.
    burying: tokio::sync::Mutex<()>,
}

impl StoreQueues {
    /// On this store, with the secret it keeps.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, sealer: Sealer, clock: Clock) -> Self {
        Self {
            configs: QueueConfigCache::new(Arc::clone(&store)),
            store,
            sealer,
            clock,
            bells: Waits::new(),
            waiters: Semaphore::new(MAX_LEASE_WAITERS),
            burying: tokio::sync::Mutex::default(),
        }
    }

    /// Buries jobs whose last lease ran out, until cancelled.
    pub async fn sweep(self: Arc<Self>, cancel: CancellationToken) {
        let mut well = true;
        while cancel.run_until_cancelled(tokio::time::sleep(JOB_SWEEP)).await.is_some() {
            let swept = self.bury_spent().await;
            if let Err(error) = &swept
                && well
            {
                tracing::warn!(%error, "jobs that are used up wait to be buried");
            }
            well = swept.is_ok();
        }
    }

    /// Keeps a dead letter of each spent job, then forgets the job.
    async fn bury_spent(&self) -> Result<(), StoreError> {
        let _one = self.burying.lock().await;
        loop {
            let spent = self.store.exhausted_jobs(JOB_SWEEP_ROWS).await?;
            let seqs: Vec<u64> = spent.iter().map(|job| job.seq).collect();
            let letters: Vec<DeadLetter> =
                spent.into_iter().map(|job| buried(job, &self.clock)).collect();
            if !letters.is_empty() {
                self.store.add_dead_letters(&letters).await?;
            }
            self.store.remove_exhausted_jobs(&seqs).await?;
            metrics::counter!("agentbus_jobs_dead_total").increment(seqs.len() as u64);
            if seqs.len() < JOB_SWEEP_ROWS {
                return Ok(());
            }
        }
    }

    fn ring(&self, queue: &str) {
        self.bells.tell(queue, Notify::notify_waiters);
    }

    /// Adds jobs; the queue is made if it is not there, also where it is deleted meanwhile.
    async fn add(&self, queue: &str, rows: &[JobRow]) -> Result<Vec<AddedJob>, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            self.configs.make(queue).await?;
            if let Some(places) = self.store.add_jobs(queue, rows).await? {
                return Ok(places);
            }
            self.configs.forget(queue);
        }
        Err(QueueError::Overloaded)
    }

    /// Waits for what may be leased, and leases it.
    async fn lease_or_wait(
        &self,
        queue: &str,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<LeasedRows, QueueError> {
        let deadline = Instant::now() + request.wait;
        let bell = self.bells.at(queue);
        let mut waiter = None;
        loop {
            // Before the store is asked: what comes in between rings all the same.
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable();
            let rules = self.configs.find(queue).await?;
            let found = self.lease_now(rules.as_ref(), request).await?;
            let now = Instant::now();
            if !found.jobs.is_empty() || now >= deadline || hurry.is_cancelled() {
                return Ok(found);
            }
            if waiter.is_none() {
                waiter = Some(self.waiters.try_acquire().map_err(|_| QueueError::Overloaded)?);
            }
            let next = match rules {
                Some(rules) => self.store.next_job(queue, rules.max_deliver).await?,
                // Who fills it rings.
                None => None,
            };
            let due = next.map_or(deadline, |next| now + next.max(JOB_WAKE));
            tokio::select! {
                () = rung => {}
                () = hurry.cancelled() => {}
                () = tokio::time::sleep_until(due.min(deadline)) => {}
            }
        }
    }

    /// Leases what there is, if there is such a queue.
    async fn lease_now(
        &self,
        rules: Option<&QueueRow>,
        request: &LeaseRequest,
    ) -> Result<LeasedRows, QueueError> {
        let Some(QueueRow { name, lease, max_deliver, .. }) = rules else {
            let (lease, expires_at) = (Uuid::nil(), self.clock.now());
            return Ok(LeasedRows { lease, expires_at, jobs: Vec::new() });
        };
        let worker = request.worker.as_ref().map(Token::as_str);
        Ok(self.store.lease_jobs(name, request.max, *max_deliver, *lease, worker).await?)
    }

    fn hand_out(&self, queue: &str, found: LeasedRows) -> Result<Vec<LeasedJob>, QueueError> {
        let LeasedRows { lease, expires_at, jobs } = found;
        let hand = jobs.into_iter().map(|job| {
            let sealed = self.sealer.seal(&Lease {
                queue: queue.to_owned(),
                seq: job.seq,
                attempt: job.attempt,
                expires_us: expires_at.timestamp_micros(),
                grant: LeaseHandle::Store(lease),
            });
            let token = sealed.ok_or(QueueError::Overloaded)?;
            Ok(LeasedJob { body: job.body, attempt: job.attempt, token, expires_at })
        });
        hand.collect()
    }

    async fn state(
        &self,
        row: QueueRow,
        letters: &DeadLetterCounts,
    ) -> Result<QueueState, QueueError> {
        let (counts, oldest) = self.store.job_counts(&row.name).await?;
        let oldest = oldest.and_then(|body| Job::decode(&body).ok());
        let now = self.clock.now();
        Ok(QueueState {
            config: QueueConfig::from(&row),
            waiting: counts.waiting,
            leased: counts.leased,
            delayed: counts.delayed,
            oldest_age: oldest.map(|job| (now - job.enqueued_at).to_std().unwrap_or_default()),
            dead_letters: letters.of(&row.name),
            name: row.name,
        })
    }

    /// What is to be done with each lease, and with which rules.
    async fn ends(
        &self,
        leases: &[Option<Lease>],
        settlements: &[Settlement],
    ) -> Result<Vec<Option<(u64, Uuid, JobSettlement)>>, QueueError> {
        let mut ends = Vec::with_capacity(leases.len());
        for (lease, settlement) in leases.iter().zip(settlements) {
            let Some(Lease { queue, seq, attempt, grant: LeaseHandle::Store(id), .. }) = lease
            else {
                ends.push(None);
                continue;
            };
            // A queue is not deleted while a job of it is leased: such a lease is over.
            let Some(rules) = self.configs.find(queue).await? else {
                ends.push(None);
                continue;
            };
            let end = match &settlement.action {
                LeaseAction::Ack => JobSettlement::Done,
                LeaseAction::Fail { reason } => {
                    JobSettlement::Fail { error: failed(reason.as_deref()) }
                }
                LeaseAction::Extend => JobSettlement::Extend(rules.lease),
                LeaseAction::Nack { delay, reason } => {
                    let error = refused(reason.as_deref());
                    let pause = QueueConfig::from(&rules).pause_after(*attempt);
                    // The last one is spent at once: it waits for nothing but its burial.
                    let spent = *attempt >= rules.max_deliver;
                    let delay = if spent { Duration::ZERO } else { delay.unwrap_or(pause) };
                    JobSettlement::Retry { delay, error }
                }
            };
            ends.push(Some((*seq, *id, end)));
        }
        Ok(ends)
    }

    async fn settle_all(
        &self,
        leases: &[Option<Lease>],
        settlements: &[Settlement],
    ) -> Result<Vec<Option<JobSettled>>, QueueError> {
        let ends = self.ends(leases, settlements).await?;
        let asked: Vec<(u64, Uuid, JobSettlement)> = ends.iter().flatten().cloned().collect();
        let mut ended = self.store.settle_jobs(&asked).await?.into_iter();
        let bad = asked.iter().any(|(_, _, end)| {
            matches!(end, JobSettlement::Fail { .. })
                || matches!(end, JobSettlement::Retry { delay, .. } if delay.is_zero())
        });
        if bad && let Err(error) = self.bury_spent().await {
            tracing::warn!(%error, "jobs that failed wait to be buried");
        }
        let queues: HashSet<&String> = leases.iter().flatten().map(|lease| &lease.queue).collect();
        queues.into_iter().for_each(|queue| self.ring(queue));
        Ok(ends.iter().map(|end| end.as_ref().and_then(|_| ended.next())).collect())
    }

    fn settled(
        &self,
        lease: Option<&Lease>,
        ended: Option<JobSettled>,
    ) -> Result<Settled, QueueError> {
        let lease = lease.ok_or(QueueError::InvalidToken)?;
        match ended {
            Some(JobSettled::Done) => Ok(Settled::Ended),
            Some(JobSettled::Extended(expires_at)) => {
                let longer = Lease { expires_us: expires_at.timestamp_micros(), ..lease.clone() };
                let token = self.sealer.seal(&longer).ok_or(QueueError::Overloaded)?;
                Ok(Settled::Extended { token, expires_at })
            }
            // A lease of the other bus is over since the switch.
            Some(JobSettled::Lost) | None => Err(QueueError::LeaseLost),
        }
    }
}

fn buried(job: ExhaustedJob, clock: &Clock) -> DeadLetter {
    let last = job.attempts.last().map(|attempt| attempt.error.clone());
    let reason = if job.failed { failed(last.as_deref()) } else { used_up(job.attempt) };
    letter(&job.queue, job.seq, job.body, job.attempts, reason, clock.now())
}

#[async_trait]
impl Queues for StoreQueues {
    async fn put(&self, queue: &Token, config: &QueueConfig) -> Result<bool, QueueError> {
        self.configs.put(queue.as_str(), config).await
    }

    async fn held(&self) -> Result<u64, QueueError> {
        Ok(self.store.jobs_held().await?)
    }

    async fn enqueue(&self, queue: &Token, jobs: &[NewJob]) -> Vec<Result<Enqueued, QueueError>> {
        let now = self.clock.now();
        let encoded: Vec<Job> = jobs.iter().map(|job| job.encode(Uuid::now_v7(), now)).collect();
        let rows: Vec<JobRow> = jobs
            .iter()
            .zip(&encoded)
            .filter(|(_, job)| job.excess().is_none())
            .map(|(new, job)| row_of(job, new))
            .collect();
        let (mut places, away) = match self.add(queue.as_str(), &rows).await {
            Ok(places) => (places.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        self.ring(queue.as_str());
        let answer = |job: &Job| match (job.excess(), &away) {
            (Some(bytes), _) => Err(QueueError::TooLarge { bytes }),
            (None, Some(error)) => Err(error.again()),
            (None, None) => match places.next() {
                Some(place) if place.known == Some(false) => {
                    Err(QueueError::Conflict { id: job.id, seq: place.seq })
                }
                Some(place) => {
                    Ok(Enqueued { id: job.id, seq: place.seq, duplicate: place.known.is_some() })
                }
                None => Err(QueueError::Overloaded),
            },
        };
        encoded.iter().map(answer).collect()
    }

    async fn lease(
        &self,
        queue: &Token,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        let found = self.lease_or_wait(queue.as_str(), request, hurry).await?;
        self.hand_out(queue.as_str(), found)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Vec<Result<Settled, QueueError>> {
        let leases: Vec<Option<Lease>> =
            settlements.iter().map(|settlement| self.sealer.open(&settlement.token)).collect();
        match self.settle_all(&leases, settlements).await {
            Ok(ended) => leases
                .iter()
                .zip(ended)
                .map(|(lease, ended)| self.settled(lease.as_ref(), ended))
                .collect(),
            Err(error) => leases
                .iter()
                .map(|lease| {
                    Err(lease.as_ref().map_or(QueueError::InvalidToken, |_| error.again()))
                })
                .collect(),
        }
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueState>, QueueError> {
        let letters = DeadLetterCounts::count(&self.store).await?;
        let mut states = Vec::new();
        for row in self.store.queues(after, limit).await? {
            states.push(self.state(row, &letters).await?);
        }
        Ok(states)
    }

    async fn get(&self, queue: &Token) -> Result<Option<QueueState>, QueueError> {
        let Some(row) = self.store.queue(queue.as_str()).await? else { return Ok(None) };
        let letters = DeadLetterCounts::count(&self.store).await?;
        self.state(row, &letters).await.map(Some)
    }

    async fn delete(&self, queue: &Token, force: bool) -> Result<bool, QueueError> {
        let queue = queue.as_str();
        // What nobody managed becomes dead letters before.
        self.bury_spent().await?;
        let Some(row) = self.store.queue(queue).await? else { return Ok(false) };
        let deleted = self.store.delete_queue(queue, row.made, force).await?;
        self.configs.forget(queue);
        QueueError::unless_deleted(deleted)
    }

    async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError> {
        let job = Job::decode(&letter.body).map_err(|_| QueueError::Undecodable)?;
        let (id, rank, delay, body) = (job.id, job.priority.rank(), Duration::ZERO, job.body);
        // No identity: the letter is what makes it one job, whoever uses its id meanwhile.
        let row = JobRow { id, rank, delay, body, identity: None };
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            self.configs.make(&letter.source).await?;
            match self.store.redrive_job(letter.id, &letter.source, &row).await? {
                RedriveOutcome::Done => {
                    self.ring(&letter.source);
                    return Ok(true);
                }
                RedriveOutcome::NoDeadLetter => return Ok(false),
                RedriveOutcome::NoQueue => self.configs.forget(&letter.source),
            }
        }
        Err(QueueError::Overloaded)
    }
}

fn row_of(job: &Job, new: &NewJob) -> JobRow {
    JobRow {
        id: job.id,
        rank: job.priority.rank(),
        delay: new.delay,
        body: job.body.clone(),
        identity: new.id.map(|id| (id, sha256(job.content()))),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
