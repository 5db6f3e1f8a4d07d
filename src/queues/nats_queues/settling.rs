//! Ends of leases: the ledger first, then the ack. See [`super`] for the reasoning.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use uuid::Uuid;

use super::NatsQueues;
use crate::bus::BusError;
use crate::bus::durable::AckKind;
use crate::bus::nats::jobs::{LeaseRecord, LeaseState, RecordOutcome};
use crate::limits::{LEASE_MEMORY, LEASE_SLACK, STORE_LOOKUP_TIMEOUT};
use crate::queues::dead_letter::{exhausted_reason, fail_reason, nack_reason};
use crate::queues::{
    Lease, LeaseAction, LeaseHandle, QueueConfig, QueueError, Settled, Settlement,
};
use crate::store::jobs::{QueueRow, RecordedAttempt};
use crate::store::work::Attempt;

/// A lease that somebody wants to end or prolong.
#[derive(Clone, Debug)]
struct Claim<'a> {
    lease: Lease,
    ack: String,
    id: Uuid,
    job: Uuid,
    action: &'a LeaseAction,
    rules: QueueRow,
    /// When it ends, extensions counted.
    until: DateTime<Utc>,
    /// The record in the ledger that the next one replaces; 0 for none.
    record: u64,
}

type Answer = Result<Settled, QueueError>;

impl Claim<'_> {
    fn state(&self) -> LeaseState {
        if *self.action == LeaseAction::Ack { LeaseState::Acked } else { LeaseState::Released }
    }

    /// Whether the job is given up.
    fn is_last(&self) -> bool {
        match self.action {
            LeaseAction::Fail { .. } => true,
            LeaseAction::Nack { .. } => self.lease.attempt >= self.rules.max_deliver,
            LeaseAction::Ack | LeaseAction::Extend => false,
        }
    }

    fn keep(&self, now: DateTime<Utc>) -> Duration {
        (self.until - now).to_std().unwrap_or_default() + LEASE_MEMORY
    }
}

impl NatsQueues {
    pub(super) async fn settle_all(&self, settlements: &[Settlement]) -> Vec<Answer> {
        let claims = join_all(settlements.iter().map(|one| self.claim(one))).await;
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(claims.len());
        let (mut ends, mut longer) = (Vec::new(), Vec::new());
        for (at, claim) in claims.into_iter().enumerate() {
            answers.push(None);
            match claim {
                Err(error) => answers[at] = Some(Err(error)),
                Ok(claim) if *claim.action == LeaseAction::Extend => longer.push((at, claim)),
                Ok(claim) => ends.push((at, claim)),
            }
        }
        // Ends before extensions: in one request, who ends a lease does not prolong it.
        for (at, answer) in self.end_all(ends).await {
            answers[at] = Some(answer);
        }
        let extended = join_all(longer.iter().map(|(_, claim)| self.extend(claim))).await;
        for ((at, _), answer) in longer.iter().zip(extended) {
            answers[*at] = Some(answer);
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(QueueError::LeaseLost))).collect()
    }

    /// Opens a token, and finds out whether its lease still runs.
    async fn claim<'a>(&self, settlement: &'a Settlement) -> Result<Claim<'a>, QueueError> {
        let lease = self.sealer.open(&settlement.token).ok_or(QueueError::InvalidToken)?;
        // A lease of the memory bus is over since the switch.
        let LeaseHandle::JetStream { ack, lease: id, job } = lease.handle.clone() else {
            return Err(QueueError::LeaseLost);
        };
        // A queue is not deleted while a job of it is leased: such a lease is over.
        let rules = self.configs.get(&lease.queue).await?.ok_or(QueueError::LeaseLost)?;
        let until = lease.expires_at();
        let action = &settlement.action;
        let mut claim = Claim { lease, ack, id, job, action, rules, until, record: 0 };
        if *action == LeaseAction::Extend || self.clock.now() >= until {
            self.look_up(&mut claim).await?;
        }
        Ok(claim)
    }

    /// Learns from the ledger until when the lease runs, and what the next record replaces.
    async fn look_up(&self, claim: &mut Claim<'_>) -> Result<(), QueueError> {
        match self.jobs.lease_record(claim.lease.seq, claim.id).await? {
            None => {}
            Some((at, LeaseRecord { state: LeaseState::Extended(until), .. })) => {
                claim.until = DateTime::from_timestamp_micros(until).unwrap_or(claim.until);
                claim.record = at;
            }
            Some((_, record)) => {
                self.complete(claim, &record).await;
                return Err(QueueError::LeaseLost);
            }
        }
        if self.clock.now() < claim.until { Ok(()) } else { Err(QueueError::LeaseLost) }
    }

    /// Sends an ack that the ledger knows of and JetStream may not, while nobody else can have the job.
    async fn complete(&self, claim: &Claim<'_>, record: &LeaseRecord) {
        if record.state == LeaseState::Acked && self.clock.now() < claim.until {
            self.jobs.ack(&[(claim.ack.clone(), AckKind::Ack)]).await;
        }
    }

    async fn end_all(&self, claims: Vec<(usize, Claim<'_>)>) -> Vec<(usize, Answer)> {
        let (places, mut claims): (Vec<usize>, Vec<Claim<'_>>) = claims.into_iter().unzip();
        let won = self.record_ends(&mut claims).await;
        let mut answers: Vec<Answer> = Vec::with_capacity(claims.len());
        let mut acks: Vec<(usize, (String, AckKind))> = Vec::new();
        let verdicts = claims.iter().zip(won).map(|(claim, won)| self.verdict(claim, won));
        for (at, verdict) in join_all(verdicts).await.into_iter().enumerate() {
            answers.push(match verdict {
                Ok(verdict) => {
                    acks.push((at, (claims[at].ack.clone(), verdict)));
                    Ok(Settled::Ended)
                }
                Err(error) => Err(error),
            });
        }
        let (at, sent): (Vec<usize>, Vec<(String, AckKind)>) = acks.into_iter().unzip();
        for (at, acked) in at.iter().zip(self.ack_surely(&claims, &at, &sent).await) {
            if let Err(error) = acked {
                answers[*at] = Err(error);
            }
        }
        self.forget(&claims, &answers).await;
        for queue in claims.iter().map(|claim| &claim.lease.queue) {
            self.ring(queue);
        }
        places.into_iter().zip(answers).collect()
    }

    /// Writes each end into the ledger; of two ends of one lease, one wins.
    async fn record_ends(&self, claims: &mut [Claim<'_>]) -> Vec<Result<(), QueueError>> {
        let mut by: Vec<Uuid> = Vec::with_capacity(claims.len());
        let now = self.clock.now();
        let records: Vec<_> = claims
            .iter()
            .map(|claim| {
                by.push(Uuid::new_v4());
                let record =
                    LeaseRecord { state: claim.state(), job: claim.job, by: by[by.len() - 1] };
                (claim.lease.seq, claim.id, claim.record, claim.keep(now), record)
            })
            .collect();
        let outcomes = self.jobs.write_records(&records).await;
        let settled = claims.iter_mut().zip(outcomes).zip(by).map(
            async |((claim, outcome), by)| match outcome {
                Ok(RecordOutcome::Written(at)) => {
                    claim.record = at;
                    Ok(())
                }
                Ok(RecordOutcome::Conflict) => self.contest(claim, by, None).await,
                Err(error) => self.contest(claim, by, Some(error)).await,
            },
        );
        join_all(settled).await
    }

    /// The record was not surely written: it may be ours all the same, or an extension is in its place.
    async fn contest(
        &self,
        claim: &mut Claim<'_>,
        by: Uuid,
        error: Option<BusError>,
    ) -> Result<(), QueueError> {
        match self.jobs.lease_record(claim.lease.seq, claim.id).await? {
            Some((at, record)) if record.by == by => {
                claim.record = at;
                Ok(())
            }
            Some((at, LeaseRecord { state: LeaseState::Extended(until), .. })) => {
                claim.until = DateTime::from_timestamp_micros(until).unwrap_or(claim.until);
                let now = self.clock.now();
                let record = LeaseRecord { state: claim.state(), job: claim.job, by };
                let keep = claim.keep(now);
                let asked = [(claim.lease.seq, claim.id, at, keep, record)];
                match self.jobs.write_records(&asked).await.pop() {
                    Some(Ok(RecordOutcome::Written(at))) => {
                        claim.record = at;
                        Ok(())
                    }
                    Some(Ok(RecordOutcome::Conflict)) | None => Err(QueueError::LeaseLost),
                    Some(Err(error)) => Err(error.into()),
                }
            }
            Some((_, record)) => {
                self.complete(claim, &record).await;
                Err(QueueError::LeaseLost)
            }
            None => Err(error.map_or(QueueError::LeaseLost, QueueError::from)),
        }
    }

    /// What JetStream is told of a lease whose end stands in the ledger.
    async fn verdict(
        &self,
        claim: &Claim<'_>,
        won: Result<(), QueueError>,
    ) -> Result<AckKind, QueueError> {
        won?;
        if claim.is_last()
            && let Err(error) = self.bury_claimed(claim).await
        {
            self.reopen(claim).await;
            return Err(error);
        }
        let LeaseAction::Nack { delay, reason } = claim.action else { return Ok(AckKind::Ack) };
        if claim.is_last() {
            return Ok(AckKind::Ack);
        }
        let pause = QueueConfig::from(&claim.rules).delay_after(claim.lease.attempt);
        let delay = delay.unwrap_or(pause);
        let note = RecordedAttempt {
            seq: claim.lease.seq,
            attempt: self.attempt(claim, nack_reason(reason.as_deref())),
            delay,
            guess: false,
        };
        self.note(&claim.lease.queue, &[note]).await;
        Ok(AckKind::Nak(delay))
    }

    fn attempt(&self, claim: &Claim<'_>, error: String) -> Attempt {
        Attempt { attempt: claim.lease.attempt, at: self.clock.now(), error }
    }

    async fn bury_claimed(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
        let Some(raw) = self.jobs.entry(claim.lease.seq).await? else { return Ok(()) };
        let (error, reason) = match claim.action {
            LeaseAction::Fail { reason } => {
                (fail_reason(reason.as_deref()), fail_reason(reason.as_deref()))
            }
            LeaseAction::Nack { reason, .. } => {
                (nack_reason(reason.as_deref()), exhausted_reason(claim.lease.attempt))
            }
            LeaseAction::Ack | LeaseAction::Extend => return Ok(()),
        };
        let last = self.attempt(claim, error);
        self.bury(&raw, claim.lease.attempt, Some(last), reason).await
    }

    /// Takes an end back that could not be carried out: the lease runs on.
    async fn reopen(&self, claim: &Claim<'_>) {
        let until = claim.until.timestamp_micros();
        let state = LeaseState::Extended(until);
        let record = LeaseRecord { state, job: claim.job, by: Uuid::new_v4() };
        let keep = claim.keep(self.clock.now());
        let asked = [(claim.lease.seq, claim.id, claim.record, keep, record)];
        if !matches!(
            self.jobs.write_records(&asked).await.as_slice(),
            [Ok(RecordOutcome::Written(_))]
        ) {
            tracing::warn!(
                queue = claim.lease.queue,
                "a lease could not be opened again: it will run out"
            );
        }
    }

    /// Acks, and once more where no answer came; never so late that it could be another's.
    async fn ack_surely(
        &self,
        claims: &[Claim<'_>],
        at: &[usize],
        acks: &[(String, AckKind)],
    ) -> Vec<Result<(), QueueError>> {
        let slack = chrono::Duration::from_std(LEASE_SLACK).unwrap_or_default();
        let in_time = |at: &usize| self.clock.now() < claims[*at].until + slack;
        let mut answers: Vec<Result<(), QueueError>> =
            at.iter().map(|_| Err(QueueError::LeaseLost)).collect();
        let mut open: Vec<usize> = (0..acks.len()).filter(|n| in_time(&at[*n])).collect();
        for _ in 0..2 {
            if open.is_empty() {
                break;
            }
            let asked: Vec<(String, AckKind)> = open.iter().map(|n| acks[*n].clone()).collect();
            for (n, acked) in open.iter().zip(self.jobs.ack(&asked).await) {
                answers[*n] = acked.map_err(QueueError::from);
            }
            open.retain(|n| answers[*n].is_err() && in_time(&at[*n]));
        }
        answers
    }

    /// Forgets what was noted of jobs that are done.
    async fn forget(&self, claims: &[Claim<'_>], answers: &[Answer]) {
        let mut queues: std::collections::HashMap<&str, Vec<u64>> = Default::default();
        for (claim, answer) in claims.iter().zip(answers) {
            let noted = claim.lease.attempt > 1 || claim.lease.attempt >= claim.rules.max_deliver;
            if answer.is_ok() && noted && *claim.action == LeaseAction::Ack {
                queues.entry(&claim.lease.queue).or_default().push(claim.lease.seq);
            }
        }
        for (queue, seqs) in queues {
            let forgotten = self.store.delete_attempts(queue, &seqs);
            // What stays is swept away when its job is long gone.
            let _ = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, forgotten).await;
        }
    }

    /// Another lease's time from now: JetStream first, so that the ledger never promises more.
    async fn extend(&self, claim: &Claim<'_>) -> Answer {
        let begun = self.clock.now();
        let lease_for = chrono::Duration::from_std(claim.rules.lease).unwrap_or_default();
        let expires_at = crate::message::truncate_to_micros(begun + lease_for);
        let until = expires_at.max(claim.until);
        let told = self.jobs.ack(&[(claim.ack.clone(), AckKind::Progress)]).await;
        told.into_iter().next().unwrap_or(Ok(()))?;
        let slack = chrono::Duration::from_std(LEASE_SLACK).unwrap_or_default();
        if self.clock.now() >= claim.until + slack {
            return Err(QueueError::LeaseLost);
        }
        let by = Uuid::new_v4();
        let state = LeaseState::Extended(until.timestamp_micros());
        let record = LeaseRecord { state, job: claim.job, by };
        let keep = (until - begun).to_std().unwrap_or_default() + LEASE_MEMORY;
        let asked = [(claim.lease.seq, claim.id, claim.record, keep, record)];
        match self.jobs.write_records(&asked).await.pop() {
            Some(Ok(RecordOutcome::Written(_))) => {}
            Some(Ok(RecordOutcome::Conflict)) | None => return Err(QueueError::LeaseLost),
            Some(Err(error)) => return Err(error.into()),
        }
        Settled::extended(&self.sealer, &claim.lease, expires_at)
    }
}
