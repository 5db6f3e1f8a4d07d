//! Holds repeats against the first messages of their ids.
//!
//! Invariant: over all requests no more than [`DUPLICATE_CHECKS`] first messages are in memory for
//! this, however many ids a request names: a repeat may be small and stand for a megabyte.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Ingest, IngestError, Receipt, new_receipt};
use crate::bus::{Ack, PublishError};
use crate::limits::{DUPLICATE_CHECKS, DUPLICATE_CHECKS_PER_REQUEST};
use crate::message::{Outgoing, decode, equal_except_created_at, parse_rfc3339};

/// Where the first message of an id stands, and who says so.
#[derive(Clone, Copy, Debug)]
pub(super) enum Original {
    /// The store: at this sequence.
    InStore(u64),
    /// The bus.
    InBus(Ack),
}

/// Places for first messages in memory.
#[derive(Debug)]
pub struct DuplicateChecks(Semaphore);

impl Default for DuplicateChecks {
    fn default() -> Self {
        Self(Semaphore::new(DUPLICATE_CHECKS))
    }
}

impl Ingest {
    /// Answers repeats, each by its place among the messages.
    pub(super) async fn answer_repeats(
        &self,
        messages: &[Outgoing],
        repeats: Vec<(usize, Original)>,
        until: Instant,
        answers: &mut [Option<Result<Receipt, IngestError>>],
    ) {
        let compare =
            |(at, first)| async move { (at, self.repeat_until(&messages[at], first, until).await) };
        let mut compared =
            stream::iter(repeats).map(compare).buffer_unordered(DUPLICATE_CHECKS_PER_REQUEST);
        while let Some((at, answer)) = compared.next().await {
            answers[at] = Some(answer);
        }
    }

    /// Compares it with the first message of its id, as long as the time of a publish lasts: a client that
    /// is left without an answer asks again.
    pub(super) async fn repeat_until(
        &self,
        message: &Outgoing,
        first: Original,
        until: Instant,
    ) -> Result<Receipt, IngestError> {
        let compared = tokio::time::timeout_at(until, self.repeat(message, first));
        compared.await.unwrap_or_else(|_| {
            let seq = match first {
                Original::InStore(seq) => seq,
                Original::InBus(ack) => ack.seq,
            };
            Err(unknown(message, format!("the message at sequence {seq} was not read in time")))
        })
    }

    /// The id is known: the same message, or another one?
    async fn repeat(&self, message: &Outgoing, first: Original) -> Result<Receipt, IngestError> {
        let _place = self.duplicate_checks.0.acquire().await;
        match first {
            Original::InStore(seq) => self.stored_repeat(message, seq).await,
            Original::InBus(ack) => {
                if let Ok(Some(raw)) = self.bus.get(ack.seq).await {
                    let first = decode(raw, self.bus.log_name());
                    return compare(message, ack.seq, &first.body, ack.committed);
                }
                let known = self.store.find(&[message.id]).await;
                match known.map_err(|error| unknown(message, error.to_string()))?.get(&message.id) {
                    Some(seq) => self.stored_repeat(message, *seq).await,
                    None => Err(nobody_holds(message, ack.seq)),
                }
            }
        }
    }

    async fn stored_repeat(&self, message: &Outgoing, seq: u64) -> Result<Receipt, IngestError> {
        match self.store.message(seq).await {
            Ok(Some(first)) => compare(message, seq, &first.body, true),
            Ok(None) => Err(nobody_holds(message, seq)),
            Err(error) => Err(unknown(message, error.to_string())),
        }
    }
}

fn nobody_holds(message: &Outgoing, seq: u64) -> IngestError {
    unknown(message, format!("this id is known at sequence {seq}, which nobody holds any more"))
}

fn unknown(message: &Outgoing, text: String) -> IngestError {
    IngestError::Bus { id: message.id, source: PublishError::Unknown(text) }
}

/// Holds a repeat against the first message of its id.
fn compare(
    message: &Outgoing,
    seq: u64,
    first: &[u8],
    committed: bool,
) -> Result<Receipt, IngestError> {
    if !equal_except_created_at(&message.body, first) {
        return Err(IngestError::Conflict { id: message.id, seq });
    }
    Ok(Receipt {
        duplicate: true,
        created_at: created_at_of(first).unwrap_or(message.created_at),
        ..new_receipt(message, seq, committed)
    })
}

fn created_at_of(body: &[u8]) -> Option<DateTime<Utc>> {
    #[derive(serde::Deserialize)]
    struct Made<'a> {
        created_at: &'a str,
    }
    let made: Made<'_> = serde_json::from_slice(body).ok()?;
    parse_rfc3339(made.created_at).ok()
}
