//! Jobs out of JetStream: pulled, read, sealed into leases.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{NatsQueues, PRIORITIES};
use crate::backoff::Backoff;
use crate::bus::durable::AckKind;
use crate::bus::nats::jobs::{DeliveredJob, LeaseState};
use crate::limits::{
    JOB_FRESH, JOB_FRESH_WAIT, JOB_POLL_FIRST, JOB_POLL_LONGEST, LEASE_MARGIN, QUEUE_POLL,
    STORE_LOOKUP_TIMEOUT,
};
use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry, parse_uuid};
use crate::queues::dead_letter::{RAN_OUT, job_dead_letter};
use crate::queues::{
    Job, Lease, LeaseHandle, LeaseRequest, LeasedJob, NewJob, Priority, QueueError,
};
use crate::store::jobs::{QueueRow, RecordedAttempt};
use crate::store::work::Attempt;

/// When a job was taken in: what its encoding says, or the stream.
pub(super) fn enqueued_at(raw: &LogEntry) -> DateTime<Utc> {
    read(raw).map_or(raw.logged_at, |job| job.enqueued_at)
}

/// The priority that a subject names.
fn priority(raw: &LogEntry) -> Priority {
    let third = raw.subject.as_str().split('.').nth(2);
    third.and_then(|token| token.parse().ok()).unwrap_or_default()
}

/// The queue that a subject names.
pub(super) fn queue_of(raw: &LogEntry) -> &str {
    raw.subject.as_str().split('.').nth(1).unwrap_or_default()
}

fn header<'a>(raw: &'a LogEntry, name: &str) -> Option<&'a str> {
    raw.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The id of a job of another client's making: its `Nats-Msg-Id` if that is a UUID, else
/// one that every reader derives alike.
fn foreign_id(raw: &LogEntry) -> Uuid {
    let told = header(raw, HEADER_MSG_ID).and_then(|id| parse_uuid(id).ok());
    let derived = || format!("{} {} {}", raw.subject, raw.seq, raw.logged_at.timestamp_micros());
    told.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, derived().as_bytes()))
}

/// Reads an entry of the jobs stream: ours, or what another client published in our form.
pub(super) fn read(raw: &LogEntry) -> Result<Job, String> {
    if header(raw, HEADER_NATIVE) == Some(HEADER_NATIVE_V1) {
        return Job::decode(&raw.payload).map_err(|_| "its encoding is not ours".to_owned());
    }
    let mut new = NewJob::parse(&raw.payload).map_err(|error| match error {
        crate::message::DraftError::Syntax { detail, .. } => detail,
        crate::message::DraftError::Invalid(errors) => {
            let told =
                errors.into_iter().map(|error| format!("{} {}", error.pointer, error.detail));
            told.collect::<Vec<_>>().join("; ")
        }
    })?;
    // The subject decides: it is what the job was taken by.
    new.priority = priority(raw);
    Ok(new.encode(foreign_id(raw), raw.logged_at))
}

/// An encoding of what is no job, for its dead letter.
pub(super) fn odd(raw: &LogEntry) -> Job {
    use base64::Engine as _;
    let text = match std::str::from_utf8(&raw.payload) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        _ => base64::engine::general_purpose::STANDARD.encode(&raw.payload),
    };
    let payload = serde_json::Value::from(text).to_string();
    NewJob::odd(payload, priority(raw)).encode(foreign_id(raw), raw.logged_at)
}

impl NatsQueues {
    pub(super) async fn lease_or_wait(
        &self,
        queue: &str,
        request: &LeaseRequest,
        hurry: &CancellationToken,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        let deadline = Instant::now() + request.wait;
        let mut there = true;
        let found = self.look(queue, request.max, &mut there).await?;
        if !found.is_empty() || request.wait.is_zero() {
            return Ok(found);
        }
        let _waiter = self.waiters.try_acquire().map_err(|_| QueueError::Overloaded)?;
        let turn = self.turns.register(queue);
        let late = || tokio::time::sleep_until(deadline);
        let _polling = tokio::select! {
            polling = turn.polling.lock() => polling,
            () = late() => return Ok(Vec::new()),
            () = hurry.cancelled() => return Ok(Vec::new()),
        };
        let mut pauses = Backoff::new(JOB_POLL_FIRST, JOB_POLL_LONGEST);
        loop {
            let line = if there { None } else { Some(self.strangers.acquire()) };
            let first = match line {
                Some(line) => tokio::select! {
                    first = line => first.ok(),
                    () = late() => return Ok(Vec::new()),
                    () = hurry.cancelled() => return Ok(Vec::new()),
                },
                None => None,
            };
            let found = self.look(queue, request.max, &mut there).await?;
            if !found.is_empty() || Instant::now() >= deadline || hurry.is_cancelled() {
                return Ok(found);
            }
            drop(first);
            let next = Instant::now() + if there { pauses.next_wait() } else { QUEUE_POLL };
            tokio::select! {
                // Somebody has put a job in, here, so the queue is there.
                () = turn.bell.notified() => {
                    pauses.reset();
                    there = true;
                }
                () = hurry.cancelled() => {}
                () = tokio::time::sleep_until(deadline.min(next)) => {}
            }
        }
    }

    /// Leases what is there, if there is such a queue.
    async fn look(
        &self,
        queue: &str,
        max: usize,
        there: &mut bool,
    ) -> Result<Vec<LeasedJob>, QueueError> {
        let rules = self.ready(queue).await?;
        *there = rules.is_some();
        match rules {
            Some(rules) => self.lease_now(&rules, max).await,
            None => Ok(Vec::new()),
        }
    }

    /// Leases what is there, higher priorities first.
    async fn lease_now(&self, rules: &QueueRow, max: usize) -> Result<Vec<LeasedJob>, QueueError> {
        let queue = rules.name.as_str();
        let (mut leased, mut bytes) = (Vec::new(), 0);
        for priority in PRIORITIES {
            let wanted = max - leased.len();
            if wanted == 0 || bytes >= crate::limits::MAX_LEASE_BYTES {
                break;
            }
            // From before the pull: JetStream's ack wait begins later.
            let begun = self.clock.now();
            let Some(delivered) = self.pull(queue, priority, wanted, &leased).await? else {
                break;
            };
            bytes += delivered.iter().map(|job| job.raw.payload.len()).sum::<usize>();
            leased.extend(self.leases_of(rules, delivered, begun).await);
        }
        Ok(leased)
    }

    /// How long a pull is to wait: a consumer learns of a job a moment after its publisher
    /// was told, and who enqueues here and then leases here should find it.
    fn settling(&self, queue: &str, priority: &str) -> Option<Duration> {
        let fresh = self.fresh().get(&(queue.to_owned(), priority)).copied()?;
        (fresh.elapsed() < JOB_FRESH).then_some(JOB_FRESH_WAIT)
    }

    /// Pulls; makes the consumers again where they are gone. `None`: there is enough already
    /// to hand out, and the bus cannot be asked for more, or the queue is gone.
    async fn pull(
        &self,
        queue: &str,
        priority: &str,
        wanted: usize,
        leased: &[LeasedJob],
    ) -> Result<Option<Vec<DeliveredJob>>, QueueError> {
        let wait = self.settling(queue, priority);
        let pulled = match self.jobs.pull(queue, priority, wanted, wait).await {
            Ok(None) => {
                self.told().remove(queue);
                // It may have been deleted, at any server; who cannot ask goes on.
                let _ = self.configs.reload(queue).await;
                if self.ready(queue).await?.is_none() {
                    return Ok(None);
                }
                self.jobs.pull(queue, priority, wanted, wait).await
            }
            pulled => pulled,
        };
        match pulled {
            Ok(pulled) => Ok(Some(pulled.unwrap_or_default())),
            Err(_) if !leased.is_empty() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The leases of what was delivered, but for what is done, exhausted or no job.
    async fn leases_of(
        &self,
        rules: &QueueRow,
        delivered: Vec<DeliveredJob>,
        begun: DateTime<Utc>,
    ) -> Vec<LeasedJob> {
        let done = self.done_before(&delivered).await;
        let lease_for = chrono::Duration::from_std(rules.lease).unwrap_or_default();
        let expires_at = crate::message::truncate_to_micros(begun + lease_for);
        self.note_leases(rules, &delivered, expires_at).await;
        let mut leases = Vec::with_capacity(delivered.len());
        for job in delivered {
            if done.contains(&job.raw.seq) {
                self.jobs.ack(&[(job.ack, AckKind::Ack)]).await;
                continue;
            }
            match read(&job.raw) {
                Err(why) => self.bury_odd(rules, &job, &why).await,
                Ok(read) => leases.extend(self.lease_of(rules, job, read, expires_at)),
            }
        }
        leases
    }

    fn lease_of(
        &self,
        rules: &QueueRow,
        delivered: DeliveredJob,
        job: Job,
        expires_at: DateTime<Utc>,
    ) -> Option<LeasedJob> {
        let DeliveredJob { attempt, ack, raw } = delivered;
        let token = self.sealer.seal(&Lease {
            queue: rules.name.clone(),
            seq: raw.seq,
            attempt,
            expires_us: expires_at.timestamp_micros(),
            handle: LeaseHandle::JetStream { ack, lease: Uuid::new_v4(), job: job.id },
        })?;
        Some(LeasedJob { body: job.body, attempt, token, expires_at })
    }

    /// Which of the redelivered were acked all the same, the ack having been lost.
    async fn done_before(&self, delivered: &[DeliveredJob]) -> HashSet<u64> {
        let again: Vec<&DeliveredJob> = delivered.iter().filter(|job| job.attempt > 1).collect();
        let records = join_all(again.iter().map(|job| self.jobs.latest_record(job.raw.seq))).await;
        let acked = again.iter().zip(records).filter(|(job, record)| {
            let acked = record.iter().flatten().filter(|it| it.state == LeaseState::Acked);
            acked.into_iter().any(|record| read(&job.raw).is_ok_and(|job| job.id == record.job))
        });
        acked.map(|(job, _)| job.raw.seq).collect()
    }

    /// Notes of each lease but the first that it ran out, until its worker says otherwise: so that
    /// dead letters tell of every attempt, and a last one that runs out is found by the sweep.
    async fn note_leases(
        &self,
        rules: &QueueRow,
        jobs: &[DeliveredJob],
        expires_at: DateTime<Utc>,
    ) {
        let mut notes = Vec::new();
        let mut guess = |job: &DeliveredJob, attempt, at, delay| {
            let attempt = Attempt { attempt, at, error: RAN_OUT.to_owned() };
            notes.push(RecordedAttempt { seq: job.raw.seq, attempt, delay, guess: true });
        };
        for job in jobs {
            if job.attempt == 2 {
                guess(job, 1, self.clock.now(), Duration::ZERO);
            }
            if job.attempt > 1 || job.attempt >= rules.max_deliver {
                guess(job, job.attempt, expires_at, rules.lease + LEASE_MARGIN);
            }
        }
        self.note(&rules.name, &notes).await;
    }

    /// Notes attempts, where the store lets it in the time there is.
    pub(super) async fn note(&self, queue: &str, notes: &[RecordedAttempt]) {
        if notes.is_empty() {
            return;
        }
        let noted = self.store.record_attempts(queue, notes);
        if let Ok(Err(error)) = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, noted).await {
            tracing::debug!(queue, %error, "why attempts failed was not kept");
        }
    }

    /// Makes a dead letter of what cannot be read; it comes again if that fails.
    async fn bury_odd(&self, rules: &QueueRow, delivered: &DeliveredJob, why: &str) {
        let body = odd(&delivered.raw).body;
        let reason = format!("cannot be decoded: {why}");
        let (seq, died_at) = (delivered.raw.seq, self.clock.now());
        let letter = job_dead_letter(&rules.name, seq, body, Vec::new(), reason, died_at);
        match self.store.add_dead_letters(&[letter]).await {
            Ok(()) => {
                self.jobs.ack(&[(delivered.ack.clone(), AckKind::Ack)]).await;
            }
            Err(error) => {
                tracing::warn!(queue = rules.name, %error, "an odd job waits to be buried")
            }
        }
    }
}
