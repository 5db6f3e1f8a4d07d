//! The watermark as this process knows it, who waits for it, and the highest
//! sequence that this process has seen at all.
//!
//! Invariant: both only rise, and the watermark never above what the store has
//! committed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// `committed_through`, shared by the projector and everyone who waits for it.
#[derive(Debug, Default)]
pub struct Committed {
    through: watch::Sender<u64>,
    seen: AtomicU64,
    waiters: AtomicUsize,
    awaited: Notify,
}

/// Counts one waiter for as long as it lives.
struct Waiting<'a>(&'a Committed);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Committed {
    /// Everything up to this sequence is in the store.
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

    /// Tells of a sequence that was acknowledged to a client or read from the bus.
    pub fn saw(&self, seq: u64) {
        self.seen.fetch_max(seq, Ordering::Relaxed);
    }

    /// The highest sequence that was committed, acknowledged or read here: none
    /// up to it may ever be given to other content.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed).max(self.through())
    }

    /// Waits until the store has `seq`; `false` when that took too long.
    pub async fn reached(&self, seq: u64, patience: Duration) -> bool {
        if self.through() >= seq {
            return true;
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        self.awaited.notify_one();
        let mut watch = self.through.subscribe();
        let reached = watch.wait_for(|through| *through >= seq);
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }

    /// Returns once the store has more than `seq`. Nobody is hurried for it.
    pub async fn beyond(&self, seq: u64) {
        // It lasts as long as we do, so this ends only when it has risen.
        let _ = self.through.subscribe().wait_for(|through| *through > seq).await;
    }

    /// Whether anybody waits, so that polling the store often is worth it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Returns when somebody begins to wait.
    pub async fn awaited(&self) {
        self.awaited.notified().await;
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
        assert!(committed.reached(5, Duration::ZERO).await);
        assert!(!committed.reached(6, Duration::from_secs(5)).await);
        assert!(!committed.is_awaited());
        let (reached, ()) = tokio::join!(committed.reached(7, Duration::from_secs(5)), async {
            committed.awaited().await;
            committed.raise(7);
        });
        assert!(reached);
    }
}
