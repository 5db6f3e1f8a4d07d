//! Webhooks: messages delivered to HTTP receivers, signed as Standard Webhooks (contract, section 10).
//!
//! Invariant: a webhook is a row in the store and the durable consumer [`consumer_name`]; it is active while
//! both exist and the consumer is not paused. Each message is delivered at least once, with retries over
//! hours, or becomes a dead letter.

mod backoff;
mod client;
mod guard;
mod handler;
mod maker;
mod registry;
mod secret;
mod status;
mod supervise;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use client::{Failure, WebhookClient};
pub use guard::{Guard, is_public};
pub use handler::{DeliveryContext, WebhookHandler};
pub use maker::Makers;
pub use registry::{NewWebhook, Registry, WebhookError};
pub use secret::Secret;
pub use status::{WebhookStatus, consumer_name};
pub use supervise::Supervisor;
