//! What users of the library write: a handler.
//!
//! Invariant: handlers never ack. They return an outcome, and [`super`] acks, sets the message aside or makes it a
//! dead letter.

use std::time::Duration;

use async_trait::async_trait;

use crate::message::{Record, SubjectPattern};

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Processed.
    Done,
    /// Not now: try again later. After the last attempt the message becomes a dead letter.
    Retry {
        /// The pause from now on; `None` means the consumer's backoff.
        after: Option<Duration>,
        /// Why, for the reader of the dead letter.
        error: String,
    },
    /// Never: a dead letter at once.
    Reject {
        /// Why.
        error: String,
    },
}

/// A message, and the number of the attempt.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// The message, with its envelope in [`Record::body`].
    pub message: &'a Record,
    /// From 1 on.
    pub attempt: u32,
}

/// Processes messages. It is called for many at once, and again for the same one when a process died meanwhile:
/// make it idempotent.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Shown in logs and dead letters.
    fn name(&self) -> &str;

    /// Which subjects it handles.
    fn subjects(&self) -> &SubjectPattern;

    /// Processes one message, for as long as it needs: its lease is prolonged meanwhile. A panic counts as a failed
    /// attempt.
    async fn handle(&self, delivery: Delivery<'_>) -> Outcome;
}
