//! The store's watermark as this process knows it, the tasks that wait for it, and the highest sequence that
//! this process has seen.
//!
//! Invariant: the watermark and the highest seen sequence only rise, and the watermark never exceeds what the
//! store has committed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// The watermark `committed_through`, shared by the projector and all tasks that wait for it.
#[derive(Debug, Default)]
pub struct Committed {
    through: watch::Sender<u64>,
    seen: AtomicU64,
    waiters: AtomicUsize,
    waiter_arrived: Notify,
}

/// Counts as one waiter until it is dropped.
struct Waiting<'a>(&'a Committed);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Committed {
    /// The sequence up to which the store has all messages.
    #[must_use]
    pub fn through(&self) -> u64 {
        *self.through.borrow()
    }

    /// Raises the watermark; a lower value changes nothing.
    pub fn raise(&self, through: u64) {
        self.through.send_if_modified(|now| {
            let higher = through > *now;
            *now = (*now).max(through);
            higher
        });
    }

    /// Records a sequence that was acknowledged to a client or read from the bus.
    pub fn record_seen(&self, seq: u64) {
        self.seen.fetch_max(seq, Ordering::Relaxed);
    }

    /// The highest sequence that was committed, acknowledged or read in this process. Sequences up to it
    /// must not be assigned to other content.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed).max(self.through())
    }

    /// Waits until the store has `seq`; returns `false` after the timeout. The projector writes at once
    /// while there is a waiter.
    pub async fn wait_for(&self, seq: u64, timeout: Duration) -> bool {
        if self.through() >= seq {
            return true;
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        self.waiter_arrived.notify_one();
        let mut watch = self.through.subscribe();
        let reached = watch.wait_for(|through| *through >= seq);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }

    /// Waits until the store has more than `seq`. Does not count as a waiter.
    pub async fn wait_beyond(&self, seq: u64) {
        // `self` owns the sender, so this returns only when the watermark has risen.
        let _ = self.through.subscribe().wait_for(|through| *through > seq).await;
    }

    /// Whether there are waiters.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Returns when there is a waiter.
    pub async fn waiter_arrived(&self) {
        self.waiter_arrived.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_no_longer_than_it_must() {
        let committed = Committed::default();
        committed.raise(5);
        committed.raise(3);
        assert_eq!(committed.through(), 5);
        assert!(committed.wait_for(5, Duration::ZERO).await);
        assert!(!committed.wait_for(6, Duration::from_secs(5)).await);
        assert!(!committed.has_waiters());
        let (reached, ()) = tokio::join!(committed.wait_for(7, Duration::from_secs(5)), async {
            committed.waiter_arrived().await;
            committed.raise(7);
        });
        assert!(reached);
    }
}
