//! Consumers of the log: their state and their control (contract, section 10).

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::Error;
use super::audit::Audit;
use super::calls::Call;
use crate::access::Principal;
use crate::processor::{ConsumerStatus, ControlError, Processor};

/// The recorded reason of a pause that was requested without one.
const BY_REQUEST: &str = "paused by request";

/// A consumer, as the API shows it.
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

/// The messages that are not processed yet.
#[derive(Clone, Debug, Serialize)]
struct Lag {
    messages: u64,
    /// How long the oldest of these messages has been in the log.
    seconds: f64,
}

/// Reads and controls the consumers of a deployment.
pub struct Consumers {
    pub(super) processor: Arc<Processor>,
    pub(super) audit: Audit,
}

impl Consumers {
    /// All consumers, ordered by name.
    ///
    /// # Errors
    /// The store or the bus is unavailable.
    pub async fn all(&self, principal: &Principal) -> Result<Vec<Consumer>, Error> {
        Call::ListConsumers.check(principal)?;
        let all = self.processor.consumers().await?;
        Ok(all.into_iter().map(Self::view).collect())
    }

    /// Pauses a consumer: it starts no more handlers, and those that run finish.
    ///
    /// # Errors
    /// The consumer does not exist; the store or the bus is unavailable.
    pub async fn pause(
        &self,
        principal: &Principal,
        name: &str,
        reason: Option<&str>,
    ) -> Result<Consumer, Error> {
        Call::PauseConsumer.check(principal)?;
        let reason = reason.unwrap_or(BY_REQUEST);
        self.processor.pause(name, Some(reason)).await?;
        let detail = json!({ "reason": reason });
        self.audit.done(principal, "consumer.pause", name, detail).await;
        self.one(name).await
    }

    /// Resumes a paused consumer.
    ///
    /// # Errors
    /// The consumer does not exist; the store or the bus is unavailable.
    pub async fn resume(&self, principal: &Principal, name: &str) -> Result<Consumer, Error> {
        Call::ResumeConsumer.check(principal)?;
        self.processor.pause(name, None).await?;
        self.audit.done(principal, "consumer.resume", name, json!({})).await;
        self.one(name).await
    }

    /// Moves the position of a consumer: back to process messages again, or ahead to skip some.
    ///
    /// # Errors
    /// The consumer does not exist; `from` lies beyond the log; the store or the bus is unavailable.
    pub async fn reset(
        &self,
        principal: &Principal,
        name: &str,
        from: u64,
    ) -> Result<Consumer, Error> {
        Call::ResetConsumer.check(principal)?;
        self.processor.reset(name, from).await?;
        let detail = json!({ "from": from });
        self.audit.done(principal, "consumer.reset", name, detail).await;
        self.one(name).await
    }

    /// The error for a consumer that does not exist.
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
