//! What users of the library write: a handler.
//!
//! Invariant: handlers never ack. They say how it went, and one place
//! ([`super`]) acks, sets aside or buries.

use std::time::Duration;

use async_trait::async_trait;

use crate::message::{Record, SubjectPattern};

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Processed.
    Done,
    /// Not now: again after the time given, or by the consumer's backoff. After
    /// the last attempt it becomes a dead letter.
    Retry {
        /// From now on; `None` leaves it to the backoff.
        after: Option<Duration>,
        /// Why, for whoever reads the dead letter.
        error: String,
    },
    /// Never: a dead letter at once.
    Reject {
        /// Why.
        error: String,
    },
}

/// A message and which attempt at it this is.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// The message, with its envelope in [`Record::body`].
    pub message: &'a Record,
    /// From 1 on.
    pub attempt: u32,
}

/// Processes messages. Called for many of them at once, and for the same one
/// again when a process died meanwhile: make it idempotent.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// What stands in logs and dead letters.
    fn name(&self) -> &str;

    /// Which subjects it is for.
    fn subjects(&self) -> &SubjectPattern;

    /// Processes one message. May take as long as it likes: its lease is prolonged
    /// meanwhile. A panic counts as a failed attempt.
    async fn handle(&self, delivery: Delivery<'_>) -> Outcome;
}
