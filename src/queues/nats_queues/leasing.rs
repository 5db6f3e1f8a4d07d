//! Leases jobs from JetStream: pulls them, reads them, and issues tokens.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::entry::{read, unreadable};
use super::queues::NatsQueues;
use crate::backoff::Backoff;
use crate::bus::durable::AckKind;
use crate::bus::nats::jobs::{DeliveredJob, LeaseState, PRIORITIES};
use crate::limits::{
    JOB_FRESH, JOB_FRESH_WAIT, JOB_POLL_FIRST, JOB_POLL_LONGEST, LEASE_MARGIN, MAX_LEASE_BYTES,
    QUEUE_POLL,
};
use crate::message::{TraceContext, truncate_to_micros};
use crate::queues::dead_letter::{RAN_OUT, job_dead_letter};
use crate::queues::{Job, Lease, LeaseHandle, LeaseRequest, LeasedJob, QueueError};
use crate::store::jobs::{QueueRow, RecordedAttempt};
use crate::store::work::Attempt;

impl NatsQueues {
    /// Leases jobs. If there are none, waits until the request's wait is over or `hurry` is cancelled.
    pub(super) async fn lease_or_wait(
        &self,
        queue: &str,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        let deadline = Instant::now() + request.wait;
        let found = self.lease_some(queue, request.max).await?;
        let mut exists = found.is_some();
        let jobs = found.unwrap_or_default();
        if !jobs.is_empty() || request.wait.is_zero() {
            return Ok(jobs);
        }
        let ended = || async { drop(tokio::time::timeout_at(deadline, hurry.cancelled()).await) };
        let _waiter = self.waiters.try_acquire().map_err(|_| QueueError::Overloaded)?;
        let poll = self.polls.register(queue);
        let _lock = tokio::select! {
            lock = poll.lock.lock() => lock,
            () = ended() => return Ok(Vec::new()),
        };
        let mut waits = Backoff::new(JOB_POLL_FIRST, JOB_POLL_LONGEST);
        loop {
            let permit = match exists {
                true => None,
                false => tokio::select! {
                    permit = self.unknown_polls.acquire() => permit.ok(),
                    () = ended() => return Ok(Vec::new()),
                },
            };
            let found = self.lease_some(queue, request.max).await?;
            drop(permit);
            exists = found.is_some();
            let jobs = found.unwrap_or_default();
            if !jobs.is_empty() || Instant::now() >= deadline || hurry.is_cancelled() {
                return Ok(jobs);
            }
            let wait = if exists { waits.next_wait() } else { QUEUE_POLL };
            tokio::select! {
                // Only a job that was enqueued on this server wakes the poll, so the queue exists.
                () = poll.wake.notified() => {
                    waits.reset();
                    exists = true;
                }
                () = ended() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Leases jobs that are there now, higher priorities first; `None` if the queue does not exist.
    async fn lease_some(
        &self,
        queue: &str,
        max: usize,
    ) -> Result<Option<Vec<LeasedJob>>, QueueError> {
        let Some(row) = self.ready(queue).await? else { return Ok(None) };
        let (mut leased, mut bytes) = (Vec::new(), 0);
        for priority in PRIORITIES {
            let wanted = max - leased.len();
            if wanted == 0 || bytes >= MAX_LEASE_BYTES {
                break;
            }
            // Read before the pull, so that the lease ends before JetStream's ack wait, which begins later.
            let begun = self.clock.now();
            let delivered = match self.pull(queue, priority, wanted).await {
                Ok(Some(delivered)) => delivered,
                Err(error) if leased.is_empty() => return Err(error),
                // The queue was deleted, or JetStream cannot be reached. Returns what was leased before that.
                Ok(None) | Err(_) => break,
            };
            bytes += delivered.iter().map(|job| job.raw.payload.len()).sum::<usize>();
            leased.extend(self.lease_all(&row, delivered, begun).await);
        }
        Ok(Some(leased))
    }

    /// Pulls jobs. Creates the queue's consumers again if they do not exist; `None` if the queue does not
    /// exist.
    async fn pull(
        &self,
        queue: &str,
        priority: &'static str,
        wanted: usize,
    ) -> Result<Option<Vec<DeliveredJob>>, QueueError> {
        // A consumer learns of a new job only a moment after its publisher got the ack. A client that
        // enqueues and then leases on the same server must find its job, so the pull waits that long.
        let published = self.published.lock().get(&(queue.to_owned(), priority)).copied();
        let wait = published.filter(|at| at.elapsed() < JOB_FRESH).map(|_| JOB_FRESH_WAIT);
        if let Some(delivered) = self.jobs.pull(queue, priority, wanted, wait).await? {
            return Ok(Some(delivered));
        }
        self.applied.lock().remove(queue);
        // Another server may have deleted the queue. If the store does not answer, the cached configuration
        // is used.
        let _ = self.configs.reload(queue).await;
        if self.ready(queue).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.jobs.pull(queue, priority, wanted, wait).await?.unwrap_or_default()))
    }

    /// Leases the delivered jobs, except those that are done or cannot be read.
    async fn lease_all(
        &self,
        row: &QueueRow,
        delivered: Vec<DeliveredJob>,
        begun: DateTime<Utc>,
    ) -> Vec<LeasedJob> {
        let done = self.done_before(&delivered).await;
        let lease_for = chrono::Duration::from_std(row.lease).unwrap_or_default();
        let expires_at = truncate_to_micros(begun + lease_for);
        self.record_leases(row, &delivered, expires_at).await;
        let mut leases = Vec::with_capacity(delivered.len());
        for job in delivered {
            if done.contains(&job.raw.seq) {
                self.jobs.ack(&[(job.ack, AckKind::Ack)]).await;
                continue;
            }
            match read(&job.raw) {
                Err(why) => self.give_up_unreadable(row, job, &why).await,
                Ok(read) => leases.extend(self.lease_one(row, job, read, expires_at)),
            }
        }
        leases
    }

    fn lease_one(
        &self,
        row: &QueueRow,
        delivered: DeliveredJob,
        job: Job,
        expires_at: DateTime<Utc>,
    ) -> Option<LeasedJob> {
        let DeliveredJob { attempt, ack, raw } = delivered;
        let token = self.sealer.seal(&Lease {
            queue: row.name.clone(),
            seq: raw.seq,
            attempt,
            expires_us: expires_at.timestamp_micros(),
            handle: LeaseHandle::JetStream { ack, lease: Uuid::new_v4(), job: job.id },
            key: None,
        })?;
        let trace = TraceContext::of_headers(&raw.headers);
        Some(LeasedJob { body: job.body, attempt, token, expires_at, trace })
    }

    /// The sequences of redelivered jobs that the ledger records as acked: their ack to JetStream was lost.
    async fn done_before(&self, delivered: &[DeliveredJob]) -> HashSet<u64> {
        let redelivered: Vec<_> = delivered.iter().filter(|job| job.attempt > 1).collect();
        let records = redelivered.iter().map(|job| self.jobs.latest_record(job.raw.seq));
        let records = join_all(records).await;
        let acked = redelivered.iter().zip(records).filter(|(job, record)| {
            let acked = record.iter().flatten().find(|it| it.state == LeaseState::Acked);
            acked.is_some_and(|record| read(&job.raw).is_ok_and(|job| job.id == record.job))
        });
        acked.map(|(job, _)| job.raw.seq).collect()
    }

    /// Records each redelivered lease, and a first lease that is the last allowed, as expired at its end,
    /// until its worker reports something else. At the second delivery it also records the first lease. So
    /// dead letters list every attempt, and the sweep finds a last lease that has expired.
    async fn record_leases(
        &self,
        row: &QueueRow,
        jobs: &[DeliveredJob],
        expires_at: DateTime<Utc>,
    ) {
        let expired = |job: &DeliveredJob, attempt, at, delay| RecordedAttempt {
            seq: job.raw.seq,
            attempt: Attempt { attempt, at, error: RAN_OUT.to_owned() },
            delay,
            guess: true,
        };
        let mut attempts = Vec::new();
        for job in jobs {
            if job.attempt == 2 {
                attempts.push(expired(job, 1, self.clock.now(), Duration::ZERO));
            }
            if job.attempt > 1 || job.attempt >= row.max_deliver {
                attempts.push(expired(job, job.attempt, expires_at, row.lease + LEASE_MARGIN));
            }
        }
        self.record(&row.name, &attempts).await;
    }

    /// Makes a dead letter of an entry that is not a job. If the store refuses it, JetStream delivers the
    /// entry again.
    async fn give_up_unreadable(&self, row: &QueueRow, delivered: DeliveredJob, why: &str) {
        let DeliveredJob { raw, ack, .. } = delivered;
        let reason = format!("cannot be decoded: {why}");
        let body = unreadable(&raw).body;
        let letter =
            job_dead_letter(&row.name, raw.seq, body, Vec::new(), reason, self.clock.now());
        match self.store.add_dead_letters(&[letter]).await {
            Ok(()) => drop(self.jobs.ack(&[(ack, AckKind::Ack)]).await),
            Err(error) => {
                let queue = &row.name;
                tracing::warn!(queue, %error, "an unreadable job is not yet a dead letter; it will be delivered again");
            }
        }
    }
}
