//! A webhook and the consumer that delivers to it.

use uuid::Uuid;

use crate::processor::WEBHOOK_PREFIX;
use crate::store::work::{Consumer, Webhook};

/// The name of a webhook's consumer.
#[must_use]
pub fn consumer_name(id: Uuid) -> String {
    format!("{WEBHOOK_PREFIX}{id}")
}

/// The webhook that a consumer of this name belongs to.
pub(super) fn webhook_of(consumer: &str) -> Option<Uuid> {
    consumer.strip_prefix(WEBHOOK_PREFIX)?.parse().ok()
}

/// A webhook and its consumer, as the store has them.
#[derive(Clone, Debug)]
pub struct WebhookStatus {
    /// The webhook.
    pub webhook: Webhook,
    /// The consumer of the webhook, if it exists.
    pub consumer: Option<Consumer>,
}

impl WebhookStatus {
    /// The reason why deliveries are paused; `None` while the webhook is active.
    #[must_use]
    pub fn paused(&self) -> Option<&str> {
        match &self.consumer {
            Some(consumer) => consumer.paused.as_deref(),
            None => Some("its consumer is missing: make another webhook"),
        }
    }
}
