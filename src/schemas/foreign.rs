//! Counts foreign messages (those of other NATS clients) that do not match their schema. They are never refused.
//!
//! Invariant: counting never holds up the projector. The projector alone offers messages, so each is counted on one
//! server; one that finds the queue full is counted as unchecked.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::counted::count_violation;
use super::registry::{Active, Registry};
use crate::limits::FOREIGN_CHECK_QUEUE;
use crate::message::{Kind, Record, Token, content_and_metadata};

/// A foreign message that waits to be checked.
struct Waiting {
    kind: Kind,
    type_: Token,
    body: Bytes,
    schema: Arc<Active>,
}

/// Takes foreign messages.
#[derive(Clone, Debug)]
pub struct ForeignQueue {
    registry: Registry,
    waiting: mpsc::Sender<Waiting>,
}

/// Checks foreign messages.
pub struct ForeignChecks {
    registry: Registry,
    waiting: mpsc::Receiver<Waiting>,
}

impl ForeignQueue {
    /// A queue, and what checks the messages in it while [`ForeignChecks::run`] runs.
    #[must_use]
    pub fn new(registry: Registry) -> (Self, ForeignChecks) {
        let (sender, waiting) = mpsc::channel(FOREIGN_CHECK_QUEUE);
        (Self { registry: registry.clone(), waiting: sender }, ForeignChecks { registry, waiting })
    }

    /// Takes those of the messages that are foreign and have a schema.
    pub fn offer(&self, records: &[Record]) {
        for record in records.iter().filter(|record| record.foreign.is_some()) {
            let Some(schema) = self.registry.of(record.kind, &record.type_) else { continue };
            let Record { kind, type_, body, .. } = record;
            let waiting = Waiting { kind: *kind, type_: type_.clone(), body: body.clone(), schema };
            if self.waiting.try_send(waiting).is_err() {
                metrics::counter!("agentbus_schema_unchecked_total").increment(1);
            }
        }
    }
}

impl ForeignChecks {
    /// Checks messages until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        while let Some(Some(message)) = cancel.run_until_cancelled(self.waiting.recv()).await {
            let Waiting { kind, type_, body, schema } = message;
            let matches = match content_and_metadata(&body) {
                None => false,
                Some((content, metadata)) => {
                    self.registry.check(schema.schema(), &content, metadata).await.is_ok()
                }
            };
            if !matches {
                count_violation(kind, &type_, "foreign");
            }
        }
    }
}
