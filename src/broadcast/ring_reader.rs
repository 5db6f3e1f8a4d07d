//! The ring for one who must have every entry: the projector.
//!
//! Invariant: what is taken follows on what was asked for without a sequence missing; where
//! the ring cannot give that it says so, and the log has to be read. Each entry is decoded once,
//! for streams and store together.

use std::sync::Arc;

use super::Broadcaster;
use super::event::Run;
use super::hub::{Hub, Step};
use super::wake::Waiter;
use crate::message::Record;

/// Takes entries from the ring.
pub struct RingReader {
    broadcaster: Arc<Broadcaster>,
    waiter: Option<Waiter>,
}

/// What the ring has after a sequence.
pub enum RingRead {
    /// The entries that follow.
    Entries(RingEntries),
    /// Nothing yet: wait with [`RingReader::wait_beyond`].
    Empty,
    /// The ring begins later, or was never filled: only the log has what follows.
    NotInRing,
}

/// Entries of the ring that follow on each other.
pub struct RingEntries(Arc<Run>);

impl RingEntries {
    /// The entries in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().map(|event| &event.record)
    }
}

impl RingReader {
    /// Of this broadcaster's ring.
    #[must_use]
    pub fn new(broadcaster: Arc<Broadcaster>) -> Self {
        Self { broadcaster, waiter: None }
    }

    /// What follows on `seq`.
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

    /// Returns once something stands beyond `seq`. Cancel safe.
    pub async fn wait_beyond(&mut self, seq: u64) {
        let hub = self.broadcaster.hub().await;
        let waiter = self.waiter.get_or_insert_with(|| hub.tails.enter());
        waiter.until(|| hub.head() > seq).await;
    }

    /// The newest entry in the ring; 0 before there is one.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.hub().map_or(0, Hub::head)
    }

    fn hub(&self) -> Option<&Hub> {
        self.broadcaster.hub.get()
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        if let (Some(waiter), Some(hub)) = (&self.waiter, self.broadcaster.hub.get()) {
            hub.tails.leave(waiter);
        }
    }
}
