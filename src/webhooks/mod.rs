//! Webhooks: messages pushed to receivers over HTTP, signed as Standard Webhooks
//! (contract, section 10).
//!
//! Invariant: a webhook is a row in the store and the durable consumer
//! [`consumer_name`]; it is active while both are there and the consumer is not
//! paused. At least once, retried over hours, then a dead letter.

mod backoff;
mod client;
mod guard;
mod handler;
mod registry;
mod secret;
mod supervise;
#[cfg(test)]
mod tests;

use uuid::Uuid;

pub use backoff::Backoff;
pub use client::{Failure, WebhookClient};
pub use guard::{Guard, is_public};
pub use handler::{DeliveryContext, WebhookHandler};
pub use registry::{NewWebhook, Registry, WebhookError};
pub use secret::Secret;
pub use supervise::Supervisor;

use crate::processor::WEBHOOK_PREFIX;
use crate::store::work::{Consumer, Webhook};

/// The name of a webhook's consumer.
#[must_use]
pub fn consumer_name(id: Uuid) -> String {
    format!("{WEBHOOK_PREFIX}{id}")
}

/// The webhook that a consumer of this name belongs to.
fn webhook_of(consumer: &str) -> Option<Uuid> {
    consumer.strip_prefix(WEBHOOK_PREFIX)?.parse().ok()
}

/// A webhook and its consumer, as the store has them.
#[derive(Clone, Debug)]
pub struct WebhookStatus {
    /// The webhook.
    pub webhook: Webhook,
    /// Its consumer, unless that is missing.
    pub consumer: Option<Consumer>,
}

impl WebhookStatus {
    /// Why nothing is delivered; `None` while it is active.
    #[must_use]
    pub fn paused(&self) -> Option<&str> {
        match &self.consumer {
            Some(consumer) => consumer.paused.as_deref(),
            None => Some("its consumer is missing: make another webhook"),
        }
    }
}
