//! Work queues: configuration, enqueueing, leases (contract, section 8).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::agents::NamedPage;
use super::audit::Audit;
use super::calls::Call;
use super::{Code, Drain, Error};
use crate::access::{Capability, Names, Needs, Principal};
use crate::clock::Clock;
use crate::message::Token;
pub use crate::queues::{
    Enqueued, LeaseAction, LeaseRequest, LeasedJob, NewJob, QueueConfig, QueueState, Settled,
    Settlement, in_seconds,
};
use crate::queues::{Lease, QueueError, Queues};
use crate::seal::Sealer;
use crate::store::state::Listing;
use crate::telemetry::traces::{KeyValue, Span, SpanKind, messaging};

/// Configures, fills and serves the work queues of a deployment.
pub struct WorkQueues {
    pub(super) queues: Arc<dyn Queues>,
    pub(super) drain: Drain,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
    /// Seals the key of a worker into the tokens of its leases, and opens them.
    pub(super) leases: Sealer,
}

impl WorkQueues {
    /// Creates a queue or changes its configuration; returns whether it was created.
    ///
    /// # Errors
    /// `too_many_queues`; the store is unavailable.
    pub async fn put(
        &self,
        principal: &Principal,
        queue: &Token,
        config: &QueueConfig,
    ) -> Result<bool, Error> {
        Call::PutQueue.check(principal)?;
        let is_new = self.queues.put(queue, config).await?;
        self.audit.done(principal, "queue.put", queue.as_str(), json!({})).await;
        Ok(is_new)
    }

    /// A page of the queues that the caller may put into or lease from, ordered by name.
    ///
    /// # Errors
    /// The store or the bus is unavailable.
    pub async fn page(
        &self,
        principal: &Principal,
        after: Option<&Token>,
        limit: usize,
    ) -> Result<NamedPage<QueueState>, Error> {
        Call::ListQueues.check(principal)?;
        let after = after.map(Token::as_str);
        let grants = principal.grants();
        if grants.enqueue.is_any() || grants.work.is_any() {
            let queues = self.queues.list(after, limit + 1).await?;
            return Ok(NamedPage::new(Listing::cut(queues, limit), |state| &state.name));
        }
        let mut queues = Vec::new();
        for name in both(&grants.enqueue, &grants.work) {
            if queues.len() <= limit && after.is_none_or(|after| name.as_str() > after) {
                queues.extend(self.queues.get(name).await?);
            }
        }
        Ok(NamedPage::new(Listing::cut(queues, limit), |state| &state.name))
    }

    /// One queue by its name.
    ///
    /// # Errors
    /// The queue does not exist, or the caller may neither put into nor lease from it; the store or the bus is
    /// unavailable.
    pub async fn one(&self, principal: &Principal, queue: &Token) -> Result<QueueState, Error> {
        Call::ReadQueue.check(principal)?;
        let (grants, name) = (principal.grants(), queue.as_str());
        if !grants.enqueue.allows(name) && !grants.work.allows(name) {
            return Err(missing(queue));
        }
        self.queues.get(queue).await?.ok_or_else(|| missing(queue))
    }

    /// Deletes a queue; if `force` is set, also one with waiting or delayed jobs, which it deletes.
    ///
    /// # Errors
    /// The queue does not exist; `queue_not_empty`; `queue_leased`; the store or the bus is unavailable.
    pub async fn delete(
        &self,
        principal: &Principal,
        queue: &Token,
        force: bool,
    ) -> Result<(), Error> {
        Call::DeleteQueue.check(principal)?;
        if !self.queues.delete(queue, force).await? {
            return Err(missing(queue));
        }
        let detail = json!({ "force": force });
        self.audit.done(principal, "queue.delete", queue.as_str(), detail).await;
        Ok(())
    }

    /// Checks that the caller may put jobs into this queue.
    ///
    /// # Errors
    /// The caller lacks a grant.
    pub fn check_enqueue(&self, principal: &Principal, queue: &Token) -> Result<(), Error> {
        Ok(principal.needs_enqueue(queue.as_str())?)
    }

    /// Checks that the caller may lease jobs from this queue.
    ///
    /// # Errors
    /// The caller lacks a grant.
    pub fn check_work(&self, principal: &Principal, queue: &Token) -> Result<(), Error> {
        Ok(principal.needs_work(queue.as_str())?)
    }

    /// Enqueues one job.
    ///
    /// # Errors
    /// The job is too large; `idempotency_conflict`; `too_many_queues`; `delay_unsupported`; the store or
    /// the bus is unavailable.
    pub async fn enqueue(
        &self,
        principal: &Principal,
        queue: &Token,
        job: NewJob,
    ) -> Result<Enqueued, Error> {
        Call::Enqueue.check(principal)?;
        only(self.enqueue_all(principal, queue, vec![job]).await)
    }

    /// Enqueues jobs in order; returns a result for each, in the same order.
    pub async fn enqueue_all(
        &self,
        principal: &Principal,
        queue: &Token,
        mut jobs: Vec<NewJob>,
    ) -> Vec<Result<Enqueued, Error>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.charge(principal, queue, &jobs) {
            return vec![Err(error); jobs.len()];
        }
        let mut span = enqueue_span(queue, &mut jobs);
        let results = self.queues.enqueue(queue, &jobs).await;
        if results.iter().all(Result::is_err) {
            span.record(|span| span.fail("refused"));
        }
        // Who works a queue reads its jobs.
        let may_read = principal.grants().work.allows(queue.as_str());
        results.into_iter().map(|result| result.map_err(|error| shown(error, may_read))).collect()
    }

    /// Checks the grant for these jobs, and counts them.
    fn charge(&self, principal: &Principal, queue: &Token, jobs: &[NewJob]) -> Result<(), Error> {
        Call::EnqueueBatch.check(principal)?;
        self.check_enqueue(principal, queue)?;
        if let Some(meter) = principal.meter() {
            let bytes = jobs.iter().map(NewJob::bytes).sum();
            meter.publish(jobs.len(), bytes, self.clock.now())?;
        }
        Ok(())
    }

    /// Leases jobs, higher priorities first. Returns none if none arrived in the requested time, or
    /// before the drain.
    ///
    /// # Errors
    /// The caller lacks a grant; too many requests wait for jobs; the store or the bus is unavailable.
    pub async fn lease(
        &self,
        principal: &Principal,
        queue: &Token,
        request: &LeaseRequest,
    ) -> Result<Vec<LeasedJob>, Error> {
        Call::Lease.check(principal)?;
        self.check_work(principal, queue)?;
        let worker = worker(principal, request.worker.as_ref())?;
        let request = LeaseRequest { worker, ..request.clone() };
        let hurry = self.drain.begun.child_token();
        let mut leasing = std::pin::pin!(self.queues.lease(queue, &request, &hurry));
        let jobs = tokio::select! {
            biased;
            jobs = &mut leasing => jobs?,
            reason = principal.ended() => {
                // A lease that is under way is not cut off: its jobs would lose an attempt.
                hurry.cancel();
                self.return_undelivered(principal, leasing.await?).await;
                return Err(Error::ended(reason));
            }
        };
        jobs.into_iter().map(|job| self.owned(principal, job)).collect()
    }

    /// The job with its worker's key in the token, so that no other key ends the lease.
    fn owned(&self, principal: &Principal, job: LeasedJob) -> Result<LeasedJob, Error> {
        let Some(owner) = principal.identity() else { return Ok(job) };
        let lease = self.leases.open::<Lease>(&job.token);
        let lease = lease.map(|lease| Lease { key: Some(owner.into_owned()), ..lease });
        let token = lease.and_then(|lease| self.leases.seal(&lease));
        let token = token.ok_or_else(|| Error::overloaded("no lease token could be made now"))?;
        Ok(LeasedJob { token, ..job })
    }

    /// Checks that the caller may end this lease: its key got it, or it may process.
    fn check_owner(&self, principal: &Principal, settlement: &Settlement) -> Result<(), Error> {
        if principal.grants().can(Capability::Process) {
            return Ok(());
        }
        // A token that does not open is refused by the queue.
        let Some(lease) = self.leases.open::<Lease>(&settlement.token) else { return Ok(()) };
        match (&lease.key, principal.identity()) {
            (Some(owner), Some(caller)) if *owner == caller => Ok(()),
            // A lease of a worker without a key.
            (None, _) => Ok(principal.needs_work(&lease.queue)?),
            _ => Err(Needs("can process".to_owned()).into()),
        }
    }

    /// Returns jobs to their queues whose response could not be sent to the worker. The attempt counts.
    pub async fn return_undelivered(&self, _principal: &Principal, jobs: Vec<LeasedJob>) {
        let reason = Some("the worker left too many responses unread".to_owned());
        let nack = |job: LeasedJob| Settlement {
            token: job.token,
            action: LeaseAction::Nack { delay: Some(Duration::ZERO), reason: reason.clone() },
        };
        let settlements: Vec<Settlement> = jobs.into_iter().map(nack).collect();
        // If this fails, the leases expire later.
        let _ = self.queues.settle(&settlements).await;
    }

    /// Ends or extends one lease.
    ///
    /// # Errors
    /// `lease_lost`, `invalid_token`; the store or the bus is unavailable.
    pub async fn settle(
        &self,
        principal: &Principal,
        settlement: Settlement,
    ) -> Result<Settled, Error> {
        Call::Settle.check(principal)?;
        only(self.settle_all(principal, &[settlement]).await)
    }

    /// Ends or extends leases; returns a result for each, in the same order.
    pub async fn settle_all(
        &self,
        principal: &Principal,
        settlements: &[Settlement],
    ) -> Vec<Result<Settled, Error>> {
        if settlements.is_empty() {
            return Vec::new();
        }
        let owned = |settlement| {
            Call::SettleBatch.check(principal)?;
            self.check_owner(principal, settlement)
        };
        let checks: Vec<Result<(), Error>> = settlements.iter().map(owned).collect();
        if checks.iter().all(Result::is_ok) {
            let results = self.queues.settle(settlements).await;
            return results.into_iter().map(|result| result.map_err(Error::from)).collect();
        }
        let own = settlements.iter().zip(&checks).filter(|(_, check)| check.is_ok());
        let own: Vec<Settlement> = own.map(|(settlement, _)| settlement.clone()).collect();
        let settled = if own.is_empty() { Vec::new() } else { self.queues.settle(&own).await };
        let mut settled = settled.into_iter();
        let result = |check: Result<(), Error>| match check {
            Ok(()) => settled.next().map(|result| result.map_err(Error::from)),
            Err(error) => Some(Err(error)),
        };
        checks.into_iter().filter_map(result).collect()
    }
}

/// The worker of a lease: it must be in `as`. A caller with one name is that one, and one without names is its key.
fn worker(principal: &Principal, named: Option<&Token>) -> Result<Option<Token>, Error> {
    let grants = principal.grants();
    let Some(worker) = named else {
        let key = || principal.key_id().filter(|_| grants.names.is_empty());
        return Ok(principal.default_sender().cloned().or_else(key));
    };
    if !(grants.names.is_empty() && principal.key_id().as_ref() == Some(worker)) {
        principal.needs_name(worker)?;
    }
    Ok(Some(worker.clone()))
}

/// The names of both, in order.
fn both<'a>(a: &'a Names, b: &'a Names) -> std::collections::BTreeSet<&'a Token> {
    a.listed().iter().chain(b.listed()).collect()
}

/// The error of a job. A conflict names the sequence of the other job only to a caller that may read it.
fn shown(error: QueueError, may_read: bool) -> Error {
    match error {
        QueueError::Conflict { id, .. } if !may_read => {
            let text = format!("id {id} was used for another job");
            let mut hidden = Error::new(Code::IdempotencyConflict, text);
            hidden.report.id = Some(id);
            hidden
        }
        error => error.into(),
    }
}

/// The result of a call with one item.
fn only<T>(mut results: Vec<Result<T, Error>>) -> Result<T, Error> {
    results.pop().unwrap_or_else(|| Err(Error::overloaded("the server is stopping")))
}

/// Begins the span of enqueueing these jobs, and puts it into them as the cause of what follows.
fn enqueue_span(queue: &Token, jobs: &mut [NewJob]) -> Span {
    let parent = jobs.first().and_then(|job| job.trace.clone());
    let span = Span::begin(SpanKind::Producer, parent, || {
        let mut attributes = messaging("enqueue", "send");
        attributes.push(KeyValue::new("messaging.destination.name", queue.to_string()));
        if jobs.len() > 1 {
            let count = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("messaging.batch.message_count", count));
        }
        (format!("enqueue {queue}"), attributes)
    });
    if span.is_recorded() {
        jobs.iter_mut().for_each(|job| job.trace = span.context().cloned());
    }
    span
}

fn missing(queue: &Token) -> Error {
    Error::not_found(format!("there is no queue {queue}"))
}
