//! Accepts messages: encodes, publishes and acknowledges them.
//!
//! Invariants: a receipt means that the message is in the log at that sequence. Ingest never writes to the
//! store. A repeated id with the same body gets a receipt with the first message's sequence; with another
//! body it is a conflict. This holds within the deduplication window of the bus always, and beyond it
//! whenever the store answers.

mod duplicates;
mod id_lookup;
mod receipt;
#[cfg(test)]
mod tests;
mod trace;

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use crate::bus::{Ack, Bus, Precondition, PublishError};
use crate::clock::Clock;
use crate::committed::Committed;
use crate::continuity::Gate;
use crate::limits::{
    COMMITTED_WAIT, DUPLICATE_DEADLINE, HEADER_BYTES, MAX_MESSAGE_BYTES, STORE_BEHIND_SHARE,
};
use crate::message::{Draft, Outgoing};
use crate::store::Store;
use crate::yielding::yield_between_items;
use duplicates::{Duplicates, Original};
use id_lookup::IdLookup;
pub use receipt::{AckLevel, IngestError, Receipt};

/// Publishes messages and detects duplicates.
pub struct Ingest {
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// The watermark of the store, and the highest sequence seen.
    pub committed: Arc<Committed>,
    /// The gate, closed while the log may not be the one that the store follows.
    pub gate: Gate,
    /// The clock for `created_at`.
    pub clock: Clock,
    /// Finds ids that are older than the deduplication window of the bus.
    id_lookup: IdLookup,
    duplicates: Duplicates,
}

impl Ingest {
    /// Makes an ingest on `bus`. `store` is only read, to find ids and first messages that the bus may
    /// have forgotten. Must be called within a runtime.
    #[must_use]
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        committed: Arc<Committed>,
        gate: Gate,
        clock: Clock,
    ) -> Self {
        let id_lookup = IdLookup::new(Arc::clone(&store));
        let duplicates = Duplicates::new(Arc::clone(&bus), store);
        Self { bus, committed, gate, clock, id_lookup, duplicates }
    }

    /// Publishes drafts in order; returns a result for each, in the same order.
    pub async fn publish(
        &self,
        drafts: &[Draft],
        level: AckLevel,
    ) -> Vec<Result<Receipt, IngestError>> {
        let mut messages = Vec::with_capacity(drafts.len());
        for draft in drafts {
            yield_between_items(messages.len()).await;
            messages.push(Outgoing::encode(draft, Uuid::now_v7(), self.clock.now()));
        }
        self.publish_all(messages, level).await
    }

    /// Publishes one draft, under `fallback_id` if it has no id.
    ///
    /// # Errors
    /// The reason why the draft was not accepted.
    pub async fn publish_one(
        &self,
        draft: &Draft,
        fallback_id: Uuid,
        level: AckLevel,
    ) -> Result<Receipt, IngestError> {
        let message = Outgoing::encode(draft, fallback_id, self.clock.now());
        let id = message.id;
        let result = self.publish_all(vec![message], level).await.pop();
        let none = || PublishError::Unknown("the server is stopping".to_owned());
        result.unwrap_or_else(|| Err(IngestError::Bus { id, source: none() }))
    }

    /// Publishes a draft if `condition` holds; `None` if it does not.
    ///
    /// # Errors
    /// The reason why the draft was not accepted.
    pub async fn publish_if(
        &self,
        draft: &Draft,
        condition: &Precondition,
    ) -> Result<Option<Receipt>, IngestError> {
        let message = Outgoing::encode(draft, Uuid::now_v7(), self.clock.now());
        if let Some(refusal) = self.refusal(message.id) {
            return Err(refusal);
        }
        let (known_mark, until) = (self.committed.seen(), Instant::now() + DUPLICATE_DEADLINE);
        let ack = match self.bus.publish_if(message.clone(), condition).await {
            Ok(None) => return Ok(None),
            Ok(Some(ack)) if ack.duplicate => {
                return self
                    .duplicates
                    .resolve(&message, Original::InBus(ack), until)
                    .await
                    .map(Some);
            }
            Ok(Some(ack)) => Ok(ack),
            Err(error) => Err(error),
        };
        self.receipt(&message, ack, known_mark).map(Some)
    }

    /// Whether the store has a message with this id; `false` while it cannot be asked.
    pub async fn is_stored(&self, id: Uuid) -> bool {
        self.id_lookup.find(&[id]).await.contains_key(&id)
    }

    async fn publish_all(
        &self,
        mut messages: Vec<Outgoing>,
        level: AckLevel,
    ) -> Vec<Result<Receipt, IngestError>> {
        let span = trace::begin(&mut messages);
        let mut results: Vec<Option<Result<Receipt, IngestError>>> =
            messages.iter().map(|m| refuse_large(m).map(Err)).collect();
        let mut repeats = self.known_repeats(&messages, &results).await;
        let until = Instant::now() + DUPLICATE_DEADLINE;
        self.send(&messages, &mut results, &mut repeats).await;
        if !repeats.is_empty() {
            Box::pin(self.duplicates.resolve_all(&messages, repeats, until, &mut results)).await;
        }
        let mut results: Vec<_> = results.into_iter().flatten().collect();
        self.settle(&mut results, level).await;
        trace::end(span, &results);
        results
    }

    /// The messages, by index and in order, whose ids the store has. The bus may have forgotten those
    /// ids.
    async fn known_repeats(
        &self,
        messages: &[Outgoing],
        results: &[Option<Result<Receipt, IngestError>>],
    ) -> Vec<(usize, Original)> {
        if self.bus.dedup_window().is_none() {
            return Vec::new();
        }
        let ids: Vec<Uuid> = messages.iter().filter(|m| m.id_is_clients).map(|m| m.id).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        // Boxed, like everything that few messages need, so that the future of every publish stays
        // small.
        let known = Box::pin(self.id_lookup.find(&ids)).await;
        let open = messages.iter().enumerate().filter(|(at, _)| results[*at].is_none());
        open.filter_map(|(at, message)| Some((at, Original::InStore(*known.get(&message.id)?))))
            .collect()
    }

    /// Publishes the messages that have no result and are no known repeats; adds those whose ids the bus
    /// knows to `repeats`.
    async fn send(
        &self,
        messages: &[Outgoing],
        results: &mut [Option<Result<Receipt, IngestError>>],
        repeats: &mut Vec<(usize, Original)>,
    ) {
        let is_known = |at: &usize| repeats.binary_search_by_key(at, |(known, _)| *known).is_ok();
        let open: Vec<usize> =
            (0..messages.len()).filter(|at| results[*at].is_none() && !is_known(at)).collect();
        let Some(&first) = open.first() else { return };
        if let Some(refusal) = self.refusal(messages[first].id) {
            for at in open {
                results[at] = Some(Err(refusal.for_id(messages[at].id)));
            }
            return;
        }
        let known_mark = self.committed.seen();
        let acks = self.bus.publish(open.iter().map(|&at| messages[at].clone()).collect()).await;
        for (at, ack) in open.into_iter().zip(acks) {
            match ack {
                Ok(ack) if ack.duplicate => repeats.push((at, Original::InBus(ack))),
                ack => results[at] = Some(self.receipt(&messages[at], ack, known_mark)),
            }
        }
    }

    /// The error while nothing can be published.
    fn refusal(&self, id: Uuid) -> Option<IngestError> {
        if let Err(reason) = self.gate.check() {
            return Some(IngestError::Bus { id, source: PublishError::NotSent(reason) });
        }
        (self.bus.uncommitted_share(self.committed.through()) >= STORE_BEHIND_SHARE)
            .then_some(IngestError::StoreBehind { id })
    }

    /// The receipt of a message that is no duplicate.
    fn receipt(
        &self,
        message: &Outgoing,
        ack: Result<Ack, PublishError>,
        known_mark: u64,
    ) -> Result<Receipt, IngestError> {
        let id = message.id;
        let ack = ack.map_err(|source| IngestError::Bus { id, source })?;
        if ack.seq <= known_mark {
            // A reader or client already has other content for this sequence, so the stream has
            // lost its tail.
            self.gate.recheck();
            let text = "the log has lost messages that were acknowledged or read";
            let source = PublishError::Unknown(text.to_owned());
            return Err(IngestError::Bus { id, source });
        }
        self.committed.record_seen(ack.seq);
        Ok(Receipt::new(message, ack.seq, ack.committed))
    }

    /// Sets `committed` in the receipts; if `level` demands it, waits for the store first.
    async fn settle(&self, results: &mut [Result<Receipt, IngestError>], level: AckLevel) {
        if level == AckLevel::Committed
            && let Some(highest) = results.iter().flatten().map(|receipt| receipt.seq).max()
        {
            self.committed.wait_for(highest, COMMITTED_WAIT).await;
        }
        let through = self.committed.through();
        for receipt in results.iter_mut().flatten() {
            receipt.committed |= level == AckLevel::Committed && receipt.seq <= through;
        }
    }
}

fn refuse_large(message: &Outgoing) -> Option<IngestError> {
    let bytes = message.body.len() + HEADER_BYTES;
    (bytes > MAX_MESSAGE_BYTES).then_some(IngestError::TooLarge { bytes })
}
