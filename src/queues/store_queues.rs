//! Work queues in the store, for the memory bus. There is only one server, so it can wake waiting workers
//! itself.
//!
//! Invariant: every step of a job's life is one transaction of the store. So a restart loses no job and no
//! lease.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ring::digest::{SHA256, digest};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::QueueConfig;
use super::config_cache::QueueConfigCache;
use super::contract::{Enqueued, LeaseRequest, LeasedJob, QueueState, Queues};
use super::dead_letter::{
    DeadLetterCounts, exhausted_reason, fail_reason, job_dead_letter, nack_reason,
};
use super::done_counter::DoneCounter;
use super::error::QueueError;
use super::job::{Job, NewJob};
use super::settlement::{LeaseAction, Settled, Settlement};
use super::token::{Lease, LeaseHandle};
use super::waiters::Waiters;
use crate::clock::Clock;
use crate::limits::{
    JOB_SWEEP, JOB_SWEEP_ROWS, JOB_WAKE, MAX_LEASE_WAITERS, MAX_QUEUE_CREATE_ATTEMPTS,
};
use crate::message::Token;
use crate::seal::Sealer;
use crate::store::jobs::{
    AddedJob, ExhaustedJob, JobRow, JobSettled, JobSettlement, LeasedRows, QueueRow, RedriveOutcome,
};
use crate::store::work::DeadLetter;
use crate::store::{Store, StoreError};

/// Work queues in the store.
pub struct StoreQueues {
    store: Arc<dyn Store>,
    configs: QueueConfigCache,
    sealer: Sealer,
    clock: Clock,
    done: Arc<DoneCounter>,
    /// Notified when a queue gets a job that can be leased.
    waiting: Waiters<Notify>,
    /// Permits for the requests that wait.
    waiters: Semaphore,
    /// Locked while exhausted jobs are made dead letters: one task at a time is enough.
    sweeping: tokio::sync::Mutex<()>,
}

impl StoreQueues {
    /// `sealer` uses the secret that the store keeps.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        sealer: Sealer,
        clock: Clock,
        done: Arc<DoneCounter>,
    ) -> Self {
        Self {
            configs: QueueConfigCache::new(Arc::clone(&store)),
            store,
            sealer,
            clock,
            done,
            waiting: Waiters::new(),
            waiters: Semaphore::new(MAX_LEASE_WAITERS),
            sweeping: tokio::sync::Mutex::default(),
        }
    }

    /// Makes dead letters of jobs whose last lease has expired, until cancelled.
    pub async fn sweep(self: Arc<Self>, cancel: CancellationToken) {
        let mut failing = false;
        while cancel.run_until_cancelled(tokio::time::sleep(JOB_SWEEP)).await.is_some() {
            let swept = self.remove_exhausted().await;
            if let Err(error) = &swept
                && !failing
            {
                tracing::warn!(%error, "exhausted jobs could not be made dead letters; the next sweep tries again");
            }
            failing = swept.is_err();
        }
    }

    /// Stores a dead letter for each exhausted job, then removes the job.
    async fn remove_exhausted(&self) -> Result<(), StoreError> {
        let _sweeping = self.sweeping.lock().await;
        loop {
            let exhausted = self.store.exhausted_jobs(JOB_SWEEP_ROWS).await?;
            let seqs: Vec<u64> = exhausted.iter().map(|job| job.seq).collect();
            let letters: Vec<DeadLetter> =
                exhausted.into_iter().map(|job| dead_letter_of(job, &self.clock)).collect();
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

    fn wake(&self, queue: &str) {
        self.waiting.notify(queue, Notify::notify_waiters);
    }

    /// Adds jobs. Creates the queue if it does not exist, even if it is deleted between the two steps.
    async fn add(&self, queue: &str, rows: &[JobRow]) -> Result<Vec<AddedJob>, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            self.configs.get_or_create(queue).await?;
            if let Some(added) = self.store.add_jobs(queue, rows).await? {
                return Ok(added);
            }
            self.configs.remove(queue);
        }
        Err(QueueError::Overloaded)
    }

    /// Leases jobs. If there are none, waits as long as the request allows.
    async fn lease_or_wait(
        &self,
        queue: &str,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<LeasedRows, QueueError> {
        let deadline = Instant::now() + request.wait;
        let waiter = self.waiting.register(queue);
        let mut permit = None;
        loop {
            // Enabled before the store is read, so that a job that is added in between wakes this task.
            let mut notified = std::pin::pin!(waiter.notified());
            notified.as_mut().enable();
            let config = self.configs.get(queue).await?;
            let leased = self.lease_now(config.as_ref(), request).await?;
            let now = Instant::now();
            if !leased.jobs.is_empty() || now >= deadline || hurry.is_cancelled() {
                return Ok(leased);
            }
            if permit.is_none() {
                permit = Some(self.waiters.try_acquire().map_err(|_| QueueError::Overloaded)?);
            }
            let next = match config {
                Some(config) => self.store.next_job(queue, config.max_deliver).await?,
                // There is no queue yet. The job that creates it wakes this task.
                None => None,
            };
            let due = next.map_or(deadline, |next| now + next.max(JOB_WAKE));
            tokio::select! {
                () = notified => {}
                () = hurry.cancelled() => {}
                () = tokio::time::sleep_until(due.min(deadline)) => {}
            }
        }
    }

    /// Leases the jobs that are due now: none if the queue does not exist.
    async fn lease_now(
        &self,
        config: Option<&QueueRow>,
        request: &LeaseRequest,
    ) -> Result<LeasedRows, QueueError> {
        let Some(QueueRow { name, lease, max_deliver, .. }) = config else {
            let (lease, expires_at) = (Uuid::nil(), self.clock.now());
            return Ok(LeasedRows { lease, expires_at, jobs: Vec::new() });
        };
        let worker = request.worker.as_ref().map(Token::as_str);
        Ok(self.store.lease_jobs(name, request.max, *max_deliver, *lease, worker).await?)
    }

    fn with_tokens(&self, queue: &str, leased: LeasedRows) -> Result<Vec<LeasedJob>, QueueError> {
        let LeasedRows { lease, expires_at, jobs } = leased;
        let with_token = jobs.into_iter().map(|job| {
            let sealed = self.sealer.seal(&Lease {
                queue: queue.to_owned(),
                seq: job.seq,
                attempt: job.attempt,
                expires_us: expires_at.timestamp_micros(),
                handle: LeaseHandle::Store(lease),
                key: None,
            });
            let token = sealed.ok_or(QueueError::Overloaded)?;
            let (body, attempt, trace) = (job.body, job.attempt, job.trace);
            Ok(LeasedJob { body, attempt, token, expires_at, trace })
        });
        with_token.collect()
    }

    async fn state(
        &self,
        row: QueueRow,
        letters: &DeadLetterCounts,
    ) -> Result<QueueState, QueueError> {
        let (counts, oldest) = self.store.job_counts(&row.name).await?;
        let oldest = oldest.and_then(|body| Job::decode(&body).ok()).map(|job| job.enqueued_at);
        Ok(QueueState::of(row, counts, oldest, self.clock.now(), letters))
    }

    /// What the store must do with each lease; `None` for a lease that cannot be valid any more.
    async fn store_settlements(
        &self,
        leases: &[Option<Lease>],
        settlements: &[Settlement],
    ) -> Result<Vec<Option<(u64, Uuid, JobSettlement)>>, QueueError> {
        let mut all = Vec::with_capacity(leases.len());
        for (lease, settlement) in leases.iter().zip(settlements) {
            let Some(Lease { queue, seq, attempt, handle: LeaseHandle::Store(id), .. }) = lease
            else {
                all.push(None);
                continue;
            };
            // A queue with a leased job is never deleted. So if there is no queue, the lease has ended.
            let Some(config) = self.configs.get(queue).await? else {
                all.push(None);
                continue;
            };
            let settlement = match &settlement.action {
                LeaseAction::Ack => JobSettlement::Done,
                LeaseAction::Fail { reason } => {
                    JobSettlement::Fail { error: fail_reason(reason.as_deref()) }
                }
                LeaseAction::Extend => JobSettlement::Extend(config.lease),
                LeaseAction::Nack { delay, reason } => {
                    let backoff = QueueConfig::from(&config).delay_after(*attempt);
                    // After the last attempt the job becomes a dead letter at once.
                    let is_last = *attempt >= config.max_deliver;
                    let delay = if is_last { Duration::ZERO } else { delay.unwrap_or(backoff) };
                    JobSettlement::Retry { delay, error: nack_reason(reason.as_deref()) }
                }
            };
            all.push(Some((*seq, *id, settlement)));
        }
        Ok(all)
    }

    async fn settle_all(
        &self,
        leases: &[Option<Lease>],
        settlements: &[Settlement],
    ) -> Result<Vec<Option<JobSettled>>, QueueError> {
        let settlements = self.store_settlements(leases, settlements).await?;
        let valid: Vec<(u64, Uuid, JobSettlement)> =
            settlements.iter().flatten().cloned().collect();
        let mut settled = self.store.settle_jobs(&valid).await?.into_iter();
        let may_exhaust = valid.iter().any(|(_, _, settlement)| {
            matches!(settlement, JobSettlement::Fail { .. })
                || matches!(settlement, JobSettlement::Retry { delay, .. } if delay.is_zero())
        });
        if may_exhaust && let Err(error) = self.remove_exhausted().await {
            tracing::warn!(%error, "failed jobs could not be made dead letters; the next sweep tries again");
        }
        let queues: HashSet<&String> = leases.iter().flatten().map(|lease| &lease.queue).collect();
        queues.into_iter().for_each(|queue| self.wake(queue));
        Ok(settlements.iter().map(|one| one.as_ref().and_then(|_| settled.next())).collect())
    }

    fn settled(
        &self,
        lease: Option<&Lease>,
        settled: Option<JobSettled>,
    ) -> Result<Settled, QueueError> {
        let lease = lease.ok_or(QueueError::InvalidToken)?;
        match settled {
            Some(JobSettled::Done) => Ok(Settled::Ended),
            Some(JobSettled::Extended(until)) => Settled::extended(&self.sealer, lease, until),
            // A lease of the NATS bus ended with the switch to this bus.
            Some(JobSettled::Lost) | None => Err(QueueError::LeaseLost),
        }
    }

    async fn settle_uncounted(
        &self,
        settlements: &[Settlement],
    ) -> Vec<Result<Settled, QueueError>> {
        let leases: Vec<Option<Lease>> =
            settlements.iter().map(|settlement| self.sealer.open(&settlement.token)).collect();
        match self.settle_all(&leases, settlements).await {
            Ok(settled) => leases
                .iter()
                .zip(settled)
                .map(|(lease, settled)| self.settled(lease.as_ref(), settled))
                .collect(),
            Err(error) => leases
                .iter()
                .map(|lease| {
                    Err(lease.as_ref().map_or(QueueError::InvalidToken, |_| error.clone()))
                })
                .collect(),
        }
    }
}

fn dead_letter_of(job: ExhaustedJob, clock: &Clock) -> DeadLetter {
    let last = job.attempts.last().map(|attempt| attempt.error.clone());
    let reason =
        if job.failed { fail_reason(last.as_deref()) } else { exhausted_reason(job.attempt) };
    job_dead_letter(&job.queue, job.seq, job.body, job.attempts, reason, clock.now())
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
        let (mut added, failure) = match self.add(queue.as_str(), &rows).await {
            Ok(added) => (added.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        self.wake(queue.as_str());
        let result = |job: &Job| match (job.excess(), &failure) {
            (Some(bytes), _) => Err(QueueError::TooLarge { bytes }),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => match added.next() {
                Some(AddedJob { seq, same: Some(false) }) => {
                    Err(QueueError::Conflict { id: job.id, seq })
                }
                Some(AddedJob { seq, same }) => {
                    Ok(Enqueued { id: job.id, seq, duplicate: same.is_some() })
                }
                None => Err(QueueError::Overloaded),
            },
        };
        encoded.iter().map(result).collect()
    }

    async fn lease(
        &self,
        queue: &Token,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        let leased = self.lease_or_wait(queue.as_str(), request, hurry).await?;
        self.with_tokens(queue.as_str(), leased)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Vec<Result<Settled, QueueError>> {
        let settled = self.settle_uncounted(settlements).await;
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
        let Some(row) = self.store.queue(queue.as_str()).await? else { return Ok(None) };
        let letters = DeadLetterCounts::load(&self.store).await?;
        self.state(row, &letters).await.map(Some)
    }

    async fn delete(&self, queue: &Token, force: bool) -> Result<bool, QueueError> {
        let queue = queue.as_str();
        // Otherwise exhausted jobs would be deleted with the queue instead of becoming dead letters.
        self.remove_exhausted().await?;
        let Some(row) = self.store.queue(queue).await? else { return Ok(false) };
        let deleted = self.store.delete_queue(queue, row.incarnation, force).await?;
        self.configs.remove(queue);
        QueueError::unless_deleted(deleted)
    }

    async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError> {
        let job = Job::decode(&letter.body).map_err(|_| QueueError::Undecodable)?;
        let (id, rank, delay, body) = (job.id, job.priority.rank(), Duration::ZERO, job.body);
        // Without an identity. Whether another job has this id by now does not matter: redriving removes the
        // dead letter, so it adds exactly one job.
        let row = JobRow { id, rank, delay, body, identity: None, trace: None };
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            self.configs.get_or_create(&letter.source).await?;
            match self.store.redrive_job(letter.id, &letter.source, &row).await? {
                RedriveOutcome::Done => {
                    self.wake(&letter.source);
                    return Ok(true);
                }
                RedriveOutcome::NoDeadLetter => return Ok(false),
                RedriveOutcome::NoQueue => self.configs.remove(&letter.source),
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
        trace: new.trace.clone(),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
