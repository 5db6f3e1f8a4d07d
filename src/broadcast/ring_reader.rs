//! Reads the ring for the projector, which writes every entry to the store.
//!
//! Invariant: the entries read follow the given sequence without a hole. If the ring does not have the next
//! entry, the result is [`RingRead::NotInRing`], and the projector must read the log. So an entry is decoded
//! only once for streams and store.

use std::sync::Arc;

use super::broadcaster::Broadcaster;
use super::event::Run;
use super::hub::{Hub, Step};
use super::wake::Waiter;
use crate::message::Record;

/// Reads all entries of the ring, whatever their filter groups.
pub struct RingReader {
    broadcaster: Arc<Broadcaster>,
    waiter: Option<Waiter>,
}

/// What the ring holds after a sequence.
pub enum RingRead {
    /// The entries after the sequence.
    Entries(RingEntries),
    /// No entry yet: wait with [`RingReader::wait_beyond`].
    Empty,
    /// The ring begins later, or does not exist yet: read the log.
    NotInRing,
}

/// Consecutive entries of the ring.
pub struct RingEntries(Arc<Run>);

impl RingEntries {
    /// The entries in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().map(|event| &event.record)
    }
}

impl RingReader {
    /// Reads this broadcaster's ring.
    #[must_use]
    pub fn new(broadcaster: Arc<Broadcaster>) -> Self {
        Self { broadcaster, waiter: None }
    }

    /// The entries after `seq`.
    #[must_use]
    pub fn after(&self, seq: u64) -> RingRead {
        match self.hub().map(|hub| hub.step_of_all(seq)) {
            Some(Step::Events { events, .. }) if !events.is_empty() => {
                RingRead::Entries(RingEntries(events))
            }
            Some(Step::Wait) => RingRead::Empty,
            Some(Step::Events { .. } | Step::Behind { .. }) | None => RingRead::NotInRing,
        }
    }

    /// Returns once the ring has an entry beyond `seq`. Cancel safe.
    pub async fn wait_beyond(&mut self, seq: u64) {
        let hub = self.broadcaster.hub().await;
        let waiter = self.waiter.get_or_insert_with(|| hub.ring_wakes.register());
        waiter.until(|| hub.head() > seq).await;
    }

    /// The newest sequence in the ring; 0 before the ring exists.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.hub().map_or(0, Hub::head)
    }

    fn hub(&self) -> Option<&Hub> {
        self.broadcaster.current_hub().map(Arc::as_ref)
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        if let (Some(waiter), Some(hub)) = (&self.waiter, self.hub()) {
            hub.ring_wakes.unregister(waiter);
        }
    }
}
