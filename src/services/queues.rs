//! Work queues: configuration, enqueueing, leases (contract, section 8).

use std::sync::Arc;
use std::time::Duration;

use super::agents::NamedPage;
use super::{Drain, Error};
use crate::access::Principal;
use crate::message::Token;
use crate::queues::Queues;
pub use crate::queues::{
    Enqueued, LeaseAction, LeaseRequest, LeasedJob, NewJob, QueueConfig, QueueState, Settled,
    Settlement, in_seconds,
};
use crate::store::state::Listing;

/// Configures, fills and serves the work queues of a deployment.
pub struct WorkQueues {
    pub(super) queues: Arc<dyn Queues>,
    pub(super) drain: Drain,
}

impl WorkQueues {
    /// Creates a queue or changes its configuration; returns whether it was created.
    ///
    /// # Errors
    /// `too_many_queues`; the store is unavailable.
    pub async fn put(
        &self,
        _: &Principal,
        queue: &Token,
        config: &QueueConfig,
    ) -> Result<bool, Error> {
        Ok(self.queues.put(queue, config).await?)
    }

    /// A page of queues, ordered by name.
    ///
    /// # Errors
    /// The store or the bus is unavailable.
    pub async fn page(
        &self,
        _: &Principal,
        after: Option<&Token>,
        limit: usize,
    ) -> Result<NamedPage<QueueState>, Error> {
        let queues = self.queues.list(after.map(Token::as_str), limit + 1).await?;
        Ok(NamedPage::new(Listing::cut(queues, limit), |state| &state.name))
    }

    /// One queue by its name.
    ///
    /// # Errors
    /// The queue does not exist; the store or the bus is unavailable.
    pub async fn one(&self, _: &Principal, queue: &Token) -> Result<QueueState, Error> {
        self.queues.get(queue).await?.ok_or_else(|| missing(queue))
    }

    /// Deletes a queue; if `force` is set, also one with waiting or delayed jobs, which it deletes.
    ///
    /// # Errors
    /// The queue does not exist; `queue_not_empty`; `queue_leased`; the store or the bus is unavailable.
    pub async fn delete(&self, _: &Principal, queue: &Token, force: bool) -> Result<(), Error> {
        if self.queues.delete(queue, force).await? { Ok(()) } else { Err(missing(queue)) }
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
        only(self.enqueue_all(principal, queue, &[job]).await)
    }

    /// Enqueues jobs in order; returns a result for each, in the same order.
    pub async fn enqueue_all(
        &self,
        _: &Principal,
        queue: &Token,
        jobs: &[NewJob],
    ) -> Vec<Result<Enqueued, Error>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let results = self.queues.enqueue(queue, jobs).await;
        results.into_iter().map(|result| result.map_err(Error::from)).collect()
    }

    /// Leases jobs, higher priorities first. Returns none if none arrived in the requested time, or
    /// before the drain.
    ///
    /// # Errors
    /// Too many requests wait for jobs; the store or the bus is unavailable.
    pub async fn lease(
        &self,
        _: &Principal,
        queue: &Token,
        request: &LeaseRequest,
    ) -> Result<Vec<LeasedJob>, Error> {
        Ok(self.queues.lease(queue, request, &self.drain.begun).await?)
    }

    /// Returns jobs to their queues whose response could not be sent to the worker. The attempt counts.
    pub async fn return_undelivered(&self, _: &Principal, jobs: Vec<LeasedJob>) {
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
        only(self.settle_all(principal, &[settlement]).await)
    }

    /// Ends or extends leases; returns a result for each, in the same order.
    pub async fn settle_all(
        &self,
        _: &Principal,
        settlements: &[Settlement],
    ) -> Vec<Result<Settled, Error>> {
        if settlements.is_empty() {
            return Vec::new();
        }
        let results = self.queues.settle(settlements).await;
        results.into_iter().map(|result| result.map_err(Error::from)).collect()
    }
}

/// The result of a call with one item.
fn only<T>(mut results: Vec<Result<T, Error>>) -> Result<T, Error> {
    results.pop().unwrap_or_else(|| Err(Error::overloaded("the server is stopping")))
}

fn missing(queue: &Token) -> Error {
    Error::not_found(format!("there is no queue {queue}"))
}
