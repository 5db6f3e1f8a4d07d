//! The handler that delivers messages to a webhook.
//!
//! Invariant: the response alone decides the outcome. What the store records of it (last success, failures in
//! a row, a pause) may fail; that neither loses a message nor sends one twice.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use reqwest::Url;

use super::client::{Failure, WebhookClient};
use super::maker::Makers;
use super::secret::Secret;
use super::status::consumer_name;
use crate::clock::Clock;
use crate::limits::{
    WEBHOOK_PAUSE_AFTER, WEBHOOK_PAUSE_FAILURES, WEBHOOK_POLL, WEBHOOK_SUCCESS_EVERY,
};
use crate::message::SubjectPattern;
use crate::processor::handler::{Delivery, Handler, Outcome};
use crate::processor::{Policy, Processor};
use crate::store::work::{Webhook, WorkStore};
use crate::telemetry::traces::{KeyValue, Span, SpanKind};

/// What all receivers of a process share.
#[derive(Clone)]
pub struct DeliveryContext {
    /// Sends the requests.
    pub client: WebhookClient,
    /// How often a delivery is tried, and after which waits.
    pub policy: Policy,
    /// The store of the webhooks.
    pub store: Arc<dyn WorkStore>,
    /// The processor, which pauses a webhook's consumer.
    pub processor: Arc<Processor>,
    /// The clock for the time of attempts.
    pub clock: Clock,
    /// What the makers of webhooks may read.
    pub makers: Makers,
}

/// Delivers to one webhook.
pub struct WebhookHandler {
    id: uuid::Uuid,
    name: String,
    subjects: SubjectPattern,
    url: Url,
    secret: Secret,
    key_id: Option<String>,
    context: DeliveryContext,
    recorded: Mutex<LastRecorded>,
}

/// What this process has recorded last, so that not every success costs a write.
#[derive(Default)]
struct LastRecorded {
    success: Option<DateTime<Utc>>,
    is_failing: bool,
}

impl WebhookHandler {
    /// Makes the handler of a stored webhook.
    ///
    /// # Errors
    /// What in the row cannot be read, since another version or a person has written it.
    pub fn new(webhook: &Webhook, context: DeliveryContext) -> Result<Self, String> {
        Ok(Self {
            id: webhook.id,
            name: consumer_name(webhook.id),
            subjects: webhook.filter.parse().map_err(|rule| format!("filter: {rule}"))?,
            url: Url::parse(&webhook.url).map_err(|error| format!("url: {error}"))?,
            secret: webhook.secret.parse().map_err(|rule| format!("secret: {rule}"))?,
            key_id: webhook.key_id.clone(),
            context,
            recorded: Mutex::default(),
        })
    }

    /// Begins the span of a delivery. It names the receiver's host alone, since an address may contain a secret.
    fn span(&self, delivery: &Delivery<'_>) -> Span {
        Span::begin(SpanKind::Client, delivery.trace.cloned(), || {
            let host = self.url.host_str().unwrap_or_default().to_owned();
            let mut attributes = vec![
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("server.address", host),
            ];
            let port = self.url.port_or_known_default();
            attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
            ("POST", attributes)
        })
    }

    async fn succeeded(&self, now: DateTime<Utc>) {
        metrics::counter!("agentbus_webhook_deliveries_total", "result" => "delivered")
            .increment(1);
        let due = {
            let mut recorded = self.recorded.lock();
            let every = WEBHOOK_SUCCESS_EVERY;
            let recent =
                recorded.success.is_some_and(|at| (now - at).to_std().is_ok_and(|age| age < every));
            let due = recorded.is_failing || !recent;
            if due {
                *recorded = LastRecorded { success: Some(now), is_failing: false };
            }
            due
        };
        if due && let Err(error) = self.context.store.webhook_delivered(self.id, None).await {
            tracing::debug!(webhook = %self.id, %error, "a success could not be recorded");
        }
    }

    async fn failed(&self, failure: &Failure, now: DateTime<Utc>) {
        metrics::counter!("agentbus_webhook_deliveries_total", "result" => "failed").increment(1);
        self.recorded.lock().is_failing = true;
        let error = failure.error.as_str();
        let reason = match self.context.store.webhook_delivered(self.id, Some(error)).await {
            _ if failure.gone => Some("the receiver wants no more (410 Gone)".to_owned()),
            Ok(webhook) => webhook.and_then(|webhook| reason_to_pause(&webhook, now)),
            Err(error) => {
                tracing::debug!(webhook = %self.id, %error, "a failure could not be recorded");
                None
            }
        };
        if let Some(reason) = reason {
            self.pause(&reason, if failure.gone { "gone" } else { "failing" }).await;
        }
    }

    async fn pause(&self, reason: &str, why: &'static str) {
        match self.context.processor.pause(&self.name, Some(reason)).await {
            Ok(()) => {
                metrics::counter!("agentbus_webhooks_paused_total", "reason" => why).increment(1);
                tracing::warn!(webhook = %self.id, reason, "a webhook is paused");
            }
            // The next failure tries to record this again.
            Err(error) => {
                tracing::warn!(webhook = %self.id, %error, "a webhook could not be paused")
            }
        }
    }
}

/// The reason to pause a webhook that has failed too often for too long.
fn reason_to_pause(webhook: &Webhook, now: DateTime<Utc>) -> Option<String> {
    let since = webhook.failing_since?;
    let lasted = (now - since).to_std().unwrap_or_default();
    let enough = webhook.failures >= WEBHOOK_PAUSE_FAILURES && lasted >= WEBHOOK_PAUSE_AFTER;
    enough.then(|| {
        let last = webhook.last_error.as_deref().unwrap_or("unknown");
        format!("{} deliveries in a row failed since {since:?}; the last: {last}", webhook.failures)
    })
}

#[async_trait]
impl Handler for WebhookHandler {
    fn name(&self) -> &str {
        &self.name
    }

    fn subjects(&self) -> &SubjectPattern {
        &self.subjects
    }

    async fn handle(&self, delivery: Delivery<'_>) -> Outcome {
        let DeliveryContext { client, policy, clock, makers, .. } = &self.context;
        match makers.scope(self.key_id.as_deref(), clock.now()) {
            Ok(scope) if scope.as_ref().is_none_or(|scope| scope.allows(delivery.message)) => {}
            Ok(_) => return Outcome::Done,
            Err(reason) => {
                self.pause(reason, "key").await;
                return Outcome::Retry { after: Some(WEBHOOK_POLL), error: reason.to_owned() };
            }
        }
        let mut span = self.span(&delivery);
        let (message, trace) = (delivery.message, span.context().map(|trace| &**trace));
        let sent = client.deliver(&self.url, &self.secret, message, trace, clock.now()).await;
        span.record(|span| {
            let status =
                sent.as_ref().map_or_else(|failure| failure.status, |status| Some(*status));
            if let Some(status) = status {
                span.set(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            }
            if sent.is_err() {
                span.fail(
                    status.map_or("unreached".to_owned(), |status| status.as_str().to_owned()),
                );
            }
        });
        drop(span);
        match sent {
            Ok(_) => {
                self.succeeded(clock.now()).await;
                Outcome::Done
            }
            Err(failure) => {
                self.failed(&failure, clock.now()).await;
                let wait = policy.pause(delivery.attempt, fastrand::f64());
                let after = Some(wait.max(failure.retry_after.unwrap_or_default()));
                Outcome::Retry { after, error: failure.error }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_failures_over_long_pause_a_webhook() {
        let began = DateTime::UNIX_EPOCH;
        let paused = |failures, failing_since: Option<DateTime<Utc>>, lasted| {
            let webhook = Webhook {
                id: uuid::Uuid::nil(),
                url: String::new(),
                filter: String::new(),
                secret: String::new(),
                created_at: began,
                failures,
                failing_since,
                last_success: None,
                last_error: Some("the last error".to_owned()),
                key_id: None,
            };
            reason_to_pause(&webhook, began + lasted)
        };
        let (many, long) = (WEBHOOK_PAUSE_FAILURES, WEBHOOK_PAUSE_AFTER);
        let reason = paused(many, Some(began), long).expect("paused");
        assert!(reason.contains("10 deliveries") && reason.contains("the last error"), "{reason}");
        assert_eq!(paused(many - 1, Some(began), long), None);
        assert_eq!(paused(many, Some(began), long - std::time::Duration::from_secs(1)), None);
        assert_eq!(paused(0, None, long), None);
        // The clock of the store may be ahead of this one.
        assert_eq!(paused(many, Some(began + 2 * long), long), None);
    }
}
