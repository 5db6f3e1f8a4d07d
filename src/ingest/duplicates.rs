//! Decides whether a message with a known id is a duplicate or a conflict, by the first message of that id.
//!
//! Invariant: for this, no more than [`DUPLICATE_CHECKS`] first messages are in memory, over all requests and
//! however many ids one request repeats, since a small message may repeat the id of one of a megabyte.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::receipt::{IngestError, Receipt};
use crate::bus::{Ack, Bus, PublishError};
use crate::limits::{DUPLICATE_CHECKS, DUPLICATE_CHECKS_PER_REQUEST};
use crate::message::{Outgoing, decode, equal_as_posted, erase, parse_rfc3339, sender_id};
use crate::store::Store;

/// Where the first message of an id is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Original {
    /// In the store, at this sequence.
    InStore(u64),
    /// In the log, as the bus has reported.
    InBus(Ack),
}

/// Compares messages with the first messages of their ids.
pub(super) struct Duplicates {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    /// Permits to have a first message in memory.
    permits: Semaphore,
}

impl Duplicates {
    pub(super) fn new(bus: Arc<dyn Bus>, store: Arc<dyn Store>) -> Self {
        Self { bus, store, permits: Semaphore::new(DUPLICATE_CHECKS) }
    }

    /// Sets the results of repeats. Each repeat is given by its index in `messages`.
    pub(super) async fn resolve_all(
        &self,
        messages: &[Outgoing],
        repeats: Vec<(usize, Original)>,
        until: Instant,
        results: &mut [Option<Result<Receipt, IngestError>>],
    ) {
        let resolve =
            |(at, first)| async move { (at, self.resolve(&messages[at], first, until).await) };
        let mut resolved =
            stream::iter(repeats).map(resolve).buffer_unordered(DUPLICATE_CHECKS_PER_REQUEST);
        while let Some((at, result)) = resolved.next().await {
            results[at] = Some(result);
        }
    }

    /// Returns a receipt of the first message, or a conflict. Reads only until a publish would time out:
    /// a client without a response repeats the request, which costs the same again.
    pub(super) async fn resolve(
        &self,
        message: &Outgoing,
        first: Original,
        until: Instant,
    ) -> Result<Receipt, IngestError> {
        let compared = tokio::time::timeout_at(until, self.compare_with(message, first));
        compared.await.unwrap_or_else(|_| {
            let (Original::InStore(seq) | Original::InBus(Ack { seq, .. })) = first;
            Err(unknown(message, format!("the message at sequence {seq} was not read in time")))
        })
    }

    async fn compare_with(
        &self,
        message: &Outgoing,
        first: Original,
    ) -> Result<Receipt, IngestError> {
        let _permit = self.permits.acquire().await;
        match first {
            Original::InStore(seq) => self.compare_with_stored(message, seq).await,
            Original::InBus(ack) => {
                if let Ok(Some(entry)) = self.bus.get(ack.seq).await {
                    let first = decode(entry, self.bus.log_name());
                    return self.compare(message, ack.seq, &first.body, ack.committed).await;
                }
                let found = self.store.find(&[message.id]).await;
                match found.map_err(|error| unknown(message, error.to_string()))?.get(&message.id) {
                    Some(seq) => self.compare_with_stored(message, *seq).await,
                    None => Err(not_held(message, ack.seq)),
                }
            }
        }
    }

    async fn compare_with_stored(
        &self,
        message: &Outgoing,
        seq: u64,
    ) -> Result<Receipt, IngestError> {
        match self.store.message(seq).await {
            Ok(Some(first)) => self.compare(message, seq, &first.body, true).await,
            Ok(None) => Err(not_held(message, seq)),
            Err(error) => Err(unknown(message, error.to_string())),
        }
    }

    /// A receipt if the message is the same as the first, or the first one is erased; else a conflict.
    async fn compare(
        &self,
        message: &Outgoing,
        seq: u64,
        first: &[u8],
        committed: bool,
    ) -> Result<Receipt, IngestError> {
        let is_repeat = equal_as_posted(&message.body, first)
            || self.repeats_erased(message, seq, first).await?;
        if !is_repeat {
            return Err(IngestError::Conflict { id: message.id, seq });
        }
        Ok(Receipt {
            duplicate: true,
            created_at: created_at_of(first).unwrap_or(message.created_at),
            ..Receipt::new(message, seq, committed)
        })
    }

    /// Whether the message repeats one by the same sender that is erased. What that one said is not known any more.
    async fn repeats_erased(
        &self,
        message: &Outgoing,
        seq: u64,
        first: &[u8],
    ) -> Result<bool, IngestError> {
        if erase(first) != first || sender_id(&message.body) != sender_id(first) {
            return Ok(false);
        }
        let found = self.store.erasure(seq).await;
        Ok(found.map_err(|error| unknown(message, error.to_string()))?.is_some())
    }
}

fn not_held(message: &Outgoing, seq: u64) -> IngestError {
    unknown(message, format!("this id is known at sequence {seq}, which nobody holds any more"))
}

fn unknown(message: &Outgoing, text: String) -> IngestError {
    IngestError::Bus { id: message.id, source: PublishError::Unknown(text) }
}

fn created_at_of(body: &[u8]) -> Option<DateTime<Utc>> {
    #[derive(serde::Deserialize)]
    struct Created<'a> {
        created_at: &'a str,
    }
    let created: Created<'_> = serde_json::from_slice(body).ok()?;
    parse_rfc3339(created.created_at).ok()
}
