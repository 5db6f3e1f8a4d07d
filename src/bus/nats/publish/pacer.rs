//! The [`Pace`] as callers and the group share it.
//!
//! Invariant: a single that was sent is counted as awaited until its ack came or nobody waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::pace::Pace;

/// Shared by all publishes of one stream.
#[derive(Default)]
pub(super) struct Pacer {
    pace: Mutex<Pace>,
    /// The same as the pace's, to be read without the lock.
    together: AtomicBool,
}

impl Pacer {
    /// Whether publishes that wait are put together.
    pub(super) fn together(&self) -> bool {
        self.together.load(Ordering::Relaxed)
    }

    /// Whether it is time to look how singles do.
    pub(super) fn look_due(&self) -> bool {
        self.pace().look_due(Instant::now())
    }

    /// Nothing answers.
    pub(super) fn forget(&self) {
        self.tell(Pace::forget);
    }

    pub(super) fn batch_sent(&self, crowd: usize) {
        self.tell(|pace| pace.batch_sent(crowd));
    }

    pub(super) fn batch_stored(&self, messages: usize, took: Duration) {
        self.tell(|pace| pace.batch_stored(Instant::now(), messages, took));
    }

    pub(super) fn batch_refused(&self) {
        self.tell(Pace::batch_refused);
    }

    pub(super) fn batch_lost(&self) {
        self.tell(Pace::batch_lost);
    }

    pub(super) fn batch_failed(&self) {
        self.tell(|pace| pace.batch_failed(Instant::now()));
    }

    /// For tests: how many singles are on the way.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.pace().awaited()
    }

    /// For tests: batches, whatever the server does.
    #[cfg(test)]
    pub(super) fn put_together(&self) {
        self.tell(Pace::put_together);
    }

    /// Singles that are about to be sent.
    pub(super) fn singles(&self) -> Singles<'_> {
        Singles { pacer: self, awaited: 0 }
    }

    fn tell(&self, what: impl FnOnce(&mut Pace)) {
        let mut pace = self.pace();
        what(&mut pace);
        let together = pace.together();
        if self.together.swap(together, Ordering::Relaxed) != together {
            tracing::debug!(together, single_us = pace.single().as_micros(), "publishes that wait");
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock()
    }
}

/// Singles of one call on their way.
pub(super) struct Singles<'a> {
    pacer: &'a Pacer,
    awaited: usize,
}

impl Singles<'_> {
    pub(super) fn sent(&mut self) {
        self.awaited += 1;
        self.pacer.tell(|pace| pace.sent(Instant::now()));
    }

    /// One was acknowledged; of what was not told to be sent, nothing is learned.
    pub(super) fn acked(&mut self) {
        let Some(awaited) = self.awaited.checked_sub(1) else { return };
        self.awaited = awaited;
        self.pacer.tell(|pace| pace.acked(Instant::now()));
    }
}

impl Drop for Singles<'_> {
    fn drop(&mut self) {
        if self.awaited > 0 {
            self.pacer.tell(|pace| pace.given_up(self.awaited));
        }
    }
}
