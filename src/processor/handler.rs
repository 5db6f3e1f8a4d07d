//! Handlers, which users of the library write.
//!
//! Invariant: handlers never ack. They return an outcome, and the processor ([`super`]) acks the message,
//! sets it aside for a further attempt, or makes it a dead letter.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::message::{Record, SubjectPattern, TraceContext};

/// The outcome of an attempt at a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message was processed.
    Done,
    /// Try again later. After the last attempt the message becomes a dead letter.
    Retry {
        /// How long to wait from now on; `None` for the consumer's backoff.
        after: Option<Duration>,
        /// Why the attempt failed; shown in the dead letter.
        error: String,
    },
    /// The message can never be processed: make it a dead letter at once.
    Reject {
        /// Why the message was rejected; shown in the dead letter.
        error: String,
    },
}

/// A message, with the number of the attempt.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// The message, with its envelope in [`Record::body`].
    pub message: &'a Record,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The trace for what the attempt causes. It may name a span of the attempt, so it is not always that of the
    /// message.
    pub trace: Option<&'a Arc<TraceContext>>,
}

/// Processes messages. It is called for many messages at the same time, and again for the same message if a
/// process died meanwhile: make it idempotent.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The handler's name, shown in logs and dead letters.
    fn name(&self) -> &str;

    /// The subjects that the handler processes.
    fn subjects(&self) -> &SubjectPattern;

    /// Processes one message. It may take as long as it needs: the message's lease is prolonged meanwhile. A
    /// panic counts as a failed attempt.
    async fn handle(&self, delivery: Delivery<'_>) -> Outcome;
}
