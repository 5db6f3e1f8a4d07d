//! Webhooks: messages pushed to receivers over HTTP, signed as Standard Webhooks
//! (contract, section 10).
//!
//! Invariant: a webhook is a row in the store and the durable consumer
//! [`consumer_name`]; it is active while both are there and the consumer is not
//! paused. At least once, retried over hours, then a dead letter.

mod backoff;
mod client;
mod courier;
mod guard;
mod receiver;
mod secret;
#[cfg(test)]
mod tests;

use uuid::Uuid;

pub use backoff::Backoff;
pub use courier::{Courier, Failure};
pub use guard::{Guard, is_public};
pub use receiver::{Means, Receiver};
pub use secret::Secret;

/// The name of a webhook's consumer.
#[must_use]
pub fn consumer_name(id: Uuid) -> String {
    format!("webhook-{id}")
}
