//! Ends and extends leases. To end one, the server writes to the ledger first and then sends the ack;
//! [`super`] explains why.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use uuid::Uuid;

use super::queues::NatsQueues;
use crate::bus::BusError;
use crate::bus::durable::AckKind;
use crate::bus::nats::jobs::{LeaseRecord, LeaseState, RecordOutcome, RecordWrite};
use crate::limits::{LEASE_MEMORY, LEASE_SLACK, STORE_LOOKUP_TIMEOUT};
use crate::message::truncate_to_micros;
use crate::queues::dead_letter::{exhausted_reason, fail_reason, nack_reason};
use crate::queues::{
    Lease, LeaseAction, LeaseHandle, QueueConfig, QueueError, Settled, Settlement,
};
use crate::store::jobs::{QueueRow, RecordedAttempt};
use crate::store::work::Attempt;

/// The most times that an ack is sent if JetStream does not confirm it.
const ACK_ATTEMPTS: usize = 2;

/// A valid lease that a request is about to end or extend.
#[derive(Clone, Debug)]
struct Claim<'a> {
    lease: Lease,
    ack: String,
    id: Uuid,
    job: Uuid,
    action: &'a LeaseAction,
    row: QueueRow,
    /// When the lease ends, extensions included.
    until: DateTime<Utc>,
    /// The sequence of the lease's record in the ledger, which the next record replaces; 0 for none.
    record: u64,
}

type SettleResult = Result<Settled, QueueError>;

impl Claim<'_> {
    /// The state that the ledger records when the action ends the lease.
    fn end_state(&self) -> LeaseState {
        if *self.action == LeaseAction::Ack { LeaseState::Acked } else { LeaseState::Released }
    }

    /// Whether the action gives the job up.
    fn gives_up(&self) -> bool {
        match self.action {
            LeaseAction::Fail { .. } => true,
            LeaseAction::Nack { .. } => self.lease.attempt >= self.row.max_deliver,
            LeaseAction::Ack | LeaseAction::Extend => false,
        }
    }

    /// The lease's next record. It is kept until the lease would have ended, and then for [`LEASE_MEMORY`],
    /// so that repeated requests find it.
    fn write(&self, state: LeaseState, by: Uuid, now: DateTime<Utc>) -> RecordWrite {
        RecordWrite {
            seq: self.lease.seq,
            lease: self.id,
            replaces: self.record,
            keep: (self.until - now).to_std().unwrap_or_default() + LEASE_MEMORY,
            record: LeaseRecord { state, job: self.job, by },
        }
    }

    /// Applies an extension that the ledger records at sequence `record`; `until` is in microseconds since
    /// 1970.
    fn extended(&mut self, until: i64, record: u64) {
        self.until = DateTime::from_timestamp_micros(until).unwrap_or(self.until);
        self.record = record;
    }

    /// Whether an ack that is sent now still counts for this delivery and not for the next.
    fn can_ack(&self, now: DateTime<Utc>) -> bool {
        now < self.until + LEASE_SLACK
    }
}

impl NatsQueues {
    pub(super) async fn settle_all(&self, settlements: &[Settlement]) -> Vec<SettleResult> {
        let claims = join_all(settlements.iter().map(|one| self.claim(one))).await;
        let mut results: Vec<SettleResult> = Vec::with_capacity(claims.len());
        let (mut ends, mut extensions) = (Vec::new(), Vec::new());
        for (at, claim) in claims.into_iter().enumerate() {
            results.push(Err(QueueError::LeaseLost));
            match claim {
                Err(error) => results[at] = Err(error),
                Ok(claim) if *claim.action == LeaseAction::Extend => extensions.push((at, claim)),
                Ok(claim) => ends.push((at, claim)),
            }
        }
        // Ends before extensions: after a request ended a lease, an extension in the same request must fail.
        let (at, ends): (Vec<usize>, Vec<Claim<'_>>) = ends.into_iter().unzip();
        for (at, result) in at.into_iter().zip(self.end_all(ends).await) {
            results[at] = result;
        }
        let extended = join_all(extensions.iter().map(|(_, claim)| self.extend(claim))).await;
        for ((at, _), result) in extensions.iter().zip(extended) {
            results[*at] = result;
        }
        results
    }

    /// Opens a token and checks that its lease is valid.
    async fn claim<'a>(&self, settlement: &'a Settlement) -> Result<Claim<'a>, QueueError> {
        let lease: Lease = self.sealer.open(&settlement.token).ok_or(QueueError::InvalidToken)?;
        // A lease of the memory bus ended with the switch to NATS.
        let LeaseHandle::JetStream { ack, lease: id, job } = lease.handle.clone() else {
            return Err(QueueError::LeaseLost);
        };
        // A queue with leased jobs cannot be deleted. So if there is no queue, this lease has ended.
        let row = self.configs.get(&lease.queue).await?.ok_or(QueueError::LeaseLost)?;
        let until = lease.expires_at();
        let action = &settlement.action;
        let mut claim = Claim { lease, ack, id, job, action, row, until, record: 0 };
        if *action == LeaseAction::Extend || self.clock.now() >= until {
            self.look_up(&mut claim).await?;
        }
        Ok(claim)
    }

    /// Reads the lease's record from the ledger. Fails if the lease has ended.
    async fn look_up(&self, claim: &mut Claim<'_>) -> Result<(), QueueError> {
        match self.jobs.lease_record(claim.lease.seq, claim.id).await? {
            None => {}
            Some((at, LeaseRecord { state: LeaseState::Extended(until), .. })) => {
                claim.extended(until, at);
            }
            Some((_, record)) => return Err(self.lost(claim, &record).await),
        }
        if self.clock.now() < claim.until { Ok(()) } else { Err(QueueError::LeaseLost) }
    }

    /// The error for a lease that the ledger records as ended. If it ended with an ack, this may not have
    /// reached JetStream: it is sent again while no other worker can have the job.
    async fn lost(&self, claim: &Claim<'_>, record: &LeaseRecord) -> QueueError {
        if record.state == LeaseState::Acked && self.clock.now() < claim.until {
            self.jobs.ack(&[(claim.ack.clone(), AckKind::Ack)]).await;
        }
        QueueError::LeaseLost
    }

    async fn end_all(&self, mut claims: Vec<Claim<'_>>) -> Vec<SettleResult> {
        let recorded = self.record_ends(&mut claims).await;
        let prepared = claims.iter().zip(recorded).map(async |(claim, recorded)| {
            recorded?;
            self.prepare_ack(claim).await
        });
        let kinds = join_all(prepared).await;
        let results = self.ack_in_time(&claims, kinds).await;
        self.delete_attempts_of_done(&claims, &results).await;
        for claim in &claims {
            self.wake(&claim.lease.queue);
        }
        results
    }

    /// Writes the end of each lease into the ledger. If two requests end one lease, one succeeds.
    async fn record_ends(&self, claims: &mut [Claim<'_>]) -> Vec<Result<(), QueueError>> {
        let now = self.clock.now();
        let end = |claim: &Claim<'_>| claim.write(claim.end_state(), Uuid::new_v4(), now);
        let writes: Vec<RecordWrite> = claims.iter().map(end).collect();
        let outcomes = self.jobs.write_records(&writes).await;
        let recorded =
            claims.iter_mut().zip(outcomes).zip(&writes).map(async |((claim, outcome), write)| {
                match outcome {
                    Ok(RecordOutcome::Written(at)) => {
                        claim.record = at;
                        Ok(())
                    }
                    Ok(RecordOutcome::Conflict) => self.recheck(claim, write.record.by, None).await,
                    Err(error) => self.recheck(claim, write.record.by, Some(error)).await,
                }
            });
        join_all(recorded).await
    }

    /// Finds out whether a write that failed did succeed: the record may be there in spite of the error. If
    /// there is an extension instead, replaces it.
    async fn recheck(
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
                claim.extended(until, at);
                let end = claim.write(claim.end_state(), by, self.clock.now());
                claim.record = self.write_record(end).await?;
                Ok(())
            }
            Some((_, record)) => Err(self.lost(claim, &record).await),
            None => Err(error.map_or(QueueError::LeaseLost, QueueError::from)),
        }
    }

    /// Writes one record and returns its sequence.
    async fn write_record(&self, write: RecordWrite) -> Result<u64, QueueError> {
        match self.jobs.write_records(&[write]).await.pop() {
            Some(Ok(RecordOutcome::Written(at))) => Ok(at),
            Some(Ok(RecordOutcome::Conflict)) | None => Err(QueueError::LeaseLost),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Called once the lease's end is in the ledger: stores the dead letter of a job that is given up, or the
    /// reason of a nack. Returns the kind of ack for JetStream.
    async fn prepare_ack(&self, claim: &Claim<'_>) -> Result<AckKind, QueueError> {
        if claim.gives_up()
            && let Err(error) = self.give_up_claimed(claim).await
        {
            self.reopen(claim).await;
            return Err(error);
        }
        let LeaseAction::Nack { delay, reason } = claim.action else { return Ok(AckKind::Ack) };
        if claim.gives_up() {
            return Ok(AckKind::Ack);
        }
        let backoff = QueueConfig::from(&claim.row).delay_after(claim.lease.attempt);
        let delay = delay.unwrap_or(backoff);
        let attempt = self.attempt(claim, nack_reason(reason.as_deref()));
        let nacked = RecordedAttempt { seq: claim.lease.seq, attempt, delay, guess: false };
        self.record(&claim.lease.queue, &[nacked]).await;
        Ok(AckKind::Nak(delay))
    }

    fn attempt(&self, claim: &Claim<'_>, error: String) -> Attempt {
        Attempt { attempt: claim.lease.attempt, at: self.clock.now(), error }
    }

    async fn give_up_claimed(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
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
        self.add_dead_letter(&raw, claim.lease.attempt, Some(last), reason).await
    }

    /// Reopens a lease whose end is in the ledger but could not be carried out.
    async fn reopen(&self, claim: &Claim<'_>) {
        let state = LeaseState::Extended(claim.until.timestamp_micros());
        let write = claim.write(state, Uuid::new_v4(), self.clock.now());
        if self.write_record(write).await.is_err() {
            let queue = &claim.lease.queue;
            tracing::warn!(
                queue,
                "a lease could not be reopened: it will expire and its job will be delivered again"
            );
        }
    }

    /// Sends acks, and again those that JetStream does not confirm, but never so late that they could count
    /// for another delivery.
    async fn ack_in_time(
        &self,
        claims: &[Claim<'_>],
        kinds: Vec<Result<AckKind, QueueError>>,
    ) -> Vec<SettleResult> {
        let (mut results, mut open) = (Vec::with_capacity(claims.len()), Vec::new());
        for (at, kind) in kinds.into_iter().enumerate() {
            results.push(Err(match kind {
                Ok(kind) => {
                    open.push((at, kind));
                    QueueError::LeaseLost
                }
                Err(error) => error,
            }));
        }
        for _ in 0..ACK_ATTEMPTS {
            open.retain(|(at, _)| claims[*at].can_ack(self.clock.now()));
            let acks: Vec<_> =
                open.iter().map(|(at, kind)| (claims[*at].ack.clone(), *kind)).collect();
            for ((at, _), acked) in open.iter().zip(self.jobs.ack(&acks).await) {
                results[*at] = acked.map(|()| Settled::Ended).map_err(QueueError::from);
            }
            open.retain(|(at, _)| results[*at].is_err());
        }
        results
    }

    /// Deletes the recorded attempts of jobs that are done.
    async fn delete_attempts_of_done(&self, claims: &[Claim<'_>], results: &[SettleResult]) {
        let mut queues: HashMap<&str, Vec<u64>> = HashMap::new();
        for (claim, result) in claims.iter().zip(results) {
            let attempt = claim.lease.attempt;
            let is_recorded = attempt > 1 || attempt >= claim.row.max_deliver;
            if result.is_ok() && is_recorded && *claim.action == LeaseAction::Ack {
                queues.entry(&claim.lease.queue).or_default().push(claim.lease.seq);
            }
        }
        for (queue, seqs) in queues {
            let deleted = self.store.delete_attempts(queue, &seqs);
            // The sweep deletes those that remain.
            let _ = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, deleted).await;
        }
    }

    /// Extends a lease by its full length from now on. JetStream's ack wait is extended first, so that the
    /// ledger never promises more than JetStream grants.
    async fn extend(&self, claim: &Claim<'_>) -> SettleResult {
        let begun = self.clock.now();
        let lease_for = chrono::Duration::from_std(claim.row.lease).unwrap_or_default();
        let expires_at = truncate_to_micros(begun + lease_for);
        let acked = self.jobs.ack(&[(claim.ack.clone(), AckKind::Progress)]).await;
        acked.into_iter().next().unwrap_or(Ok(()))?;
        if !claim.can_ack(self.clock.now()) {
            return Err(QueueError::LeaseLost);
        }
        let extended = Claim { until: expires_at.max(claim.until), ..claim.clone() };
        let state = LeaseState::Extended(extended.until.timestamp_micros());
        self.write_record(extended.write(state, Uuid::new_v4(), begun)).await?;
        Settled::extended(&self.sealer, &claim.lease, expires_at)
    }
}
