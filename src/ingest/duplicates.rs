//! Compares messages with the first messages of their ids: duplicate or conflict?
//!
//! Invariant: over all requests, no more than [`DUPLICATE_CHECKS`] first messages are in memory for this, however many
//! ids a request repeats: a small message may repeat the id of one of a megabyte.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Ingest, IngestError, Receipt, new_receipt};
use crate::bus::{Ack, PublishError};
use crate::limits::{DUPLICATE_CHECKS, DUPLICATE_CHECKS_PER_REQUEST};
use crate::message::{Outgoing, decode, equal_except_created_at, parse_rfc3339};

/// Where the first message of an id is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Original {
    /// In the store, at this sequence.
    InStore(u64),
    /// In the log, as the bus reports.
    InBus(Ack),
}

/// Permits to hold a first message in memory.
#[derive(Debug)]
pub struct DuplicateChecks(Semaphore);

impl Default for DuplicateChecks {
    fn default() -> Self {
        Self(Semaphore::new(DUPLICATE_CHECKS))
    }
}

impl Ingest {
    /// Resolves repeats, each given by its index among the messages.
    pub(super) async fn resolve_repeats(
        &self,
        messages: &[Outgoing],
        repeats: Vec<(usize, Original)>,
        until: Instant,
        results: &mut [Option<Result<Receipt, IngestError>>],
    ) {
        let compare =
            |(at, first)| async move { (at, self.repeat_until(&messages[at], first, until).await) };
        let mut compared =
            stream::iter(repeats).map(compare).buffer_unordered(DUPLICATE_CHECKS_PER_REQUEST);
        while let Some((at, result)) = compared.next().await {
            results[at] = Some(result);
        }
    }

    /// Compares a message with the first one of its id, until the time of a publish is over: a client without a
    /// response tries again, which would cost the same once more.
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

    async fn repeat(&self, message: &Outgoing, first: Original) -> Result<Receipt, IngestError> {
        let _permit = self.duplicate_checks.0.acquire().await;
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
                    None => Err(not_held(message, ack.seq)),
                }
            }
        }
    }

    async fn stored_repeat(&self, message: &Outgoing, seq: u64) -> Result<Receipt, IngestError> {
        match self.store.message(seq).await {
            Ok(Some(first)) => compare(message, seq, &first.body, true),
            Ok(None) => Err(not_held(message, seq)),
            Err(error) => Err(unknown(message, error.to_string())),
        }
    }
}

fn not_held(message: &Outgoing, seq: u64) -> IngestError {
    unknown(message, format!("this id is known at sequence {seq}, which nobody holds any more"))
}

fn unknown(message: &Outgoing, text: String) -> IngestError {
    IngestError::Bus { id: message.id, source: PublishError::Unknown(text) }
}

/// A receipt for the same message, a conflict for another one.
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
    struct Created<'a> {
        created_at: &'a str,
    }
    let created: Created<'_> = serde_json::from_slice(body).ok()?;
    parse_rfc3339(created.created_at).ok()
}
