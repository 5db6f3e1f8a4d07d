//! Consumers: what processes the log, and its control (contract, section 10).

use std::sync::Arc;

use serde::Serialize;

use super::Error;
use crate::access::Principal;
use crate::processor::{ConsumerStatus, ControlError, Processor};

/// The reason of a pause without one.
const BY_REQUEST: &str = "paused by request";

/// A consumer.
#[derive(Clone, Debug, Serialize)]
pub struct Consumer {
    name: String,
    kind: &'static str,
    filter: String,
    state: &'static str,
    reason: Option<String>,
    pending: u64,
    in_flight: u64,
    redelivered: u64,
    lag: Lag,
    processed_through: u64,
    max_deliver: u32,
    processed: u64,
    failed: u64,
    expired: u64,
    dead_letters: u64,
}

/// What is not processed yet.
#[derive(Clone, Debug, Serialize)]
struct Lag {
    messages: u64,
    /// How long the oldest of it has been in the log.
    seconds: f64,
}

/// The consumers of a deployment.
pub struct Consumers {
    processor: Arc<Processor>,
}

impl Consumers {
    pub(super) fn new(processor: Arc<Processor>) -> Self {
        Self { processor }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// Store or bus cannot be asked.
    pub async fn all(&self, _: &Principal) -> Result<Vec<Consumer>, Error> {
        let all = self.processor.consumers().await?;
        Ok(all.into_iter().map(Self::view).collect())
    }

    /// Starts no handler any more; what runs ends.
    ///
    /// # Errors
    /// Not found; store or bus cannot be asked.
    pub async fn pause(
        &self,
        _: &Principal,
        name: &str,
        reason: Option<&str>,
    ) -> Result<Consumer, Error> {
        self.processor.pause(name, Some(reason.unwrap_or(BY_REQUEST))).await?;
        self.one(name).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// Not found; store or bus cannot be asked.
    pub async fn resume(&self, _: &Principal, name: &str) -> Result<Consumer, Error> {
        self.processor.pause(name, None).await?;
        self.one(name).await
    }

    /// Processes again from a sequence on, or skips to a later one.
    ///
    /// # Errors
    /// Not found, or `from` lies beyond the log; store or bus cannot be asked.
    pub async fn reset(&self, _: &Principal, name: &str, from: u64) -> Result<Consumer, Error> {
        self.processor.reset(name, from).await?;
        self.one(name).await
    }

    /// There is no such consumer.
    #[must_use]
    pub fn missing() -> Error {
        ControlError::Unknown.into()
    }

    async fn one(&self, name: &str) -> Result<Consumer, Error> {
        Ok(Self::view(self.processor.consumer(name).await?))
    }

    fn view(status: ConsumerStatus) -> Consumer {
        let webhook = status.is_webhook();
        let ConsumerStatus { consumer, pending, in_flight, .. } = status;
        let age = status.oldest_age.map_or(0, |age| age.num_milliseconds().max(0));
        let state = match (&consumer.paused, consumer.handled) {
            (Some(_), _) => "paused",
            (None, true) => "running",
            (None, false) => "unhandled",
        };
        Consumer {
            kind: if webhook { "webhook" } else { "processor" },
            name: consumer.name,
            filter: consumer.filter,
            state,
            reason: consumer.paused,
            pending,
            in_flight,
            redelivered: consumer.totals.redelivered,
            lag: Lag { messages: pending + in_flight, seconds: age as f64 / 1_000.0 },
            processed_through: status.processed_through,
            max_deliver: status.max_deliver,
            processed: consumer.totals.processed,
            failed: consumer.totals.failed,
            expired: consumer.totals.expired,
            dead_letters: status.dead_letters,
        }
    }
}
