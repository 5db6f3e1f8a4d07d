//! The gate before publishing.
//!
//! Invariant: closed while anybody doubts that the log continues the store; only
//! a check that found nothing wrong opens it. It is closed from the moment in which the bus suspects
//! something: a publish that is on its way at that moment must not wait for a task to say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// Whether publishing is allowed. Cheap to clone, shared by all who ask.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    closed: watch::Sender<Option<String>>,
    doubted: Notify,
    doubts: AtomicU64,
    /// Counts what the bus suspects.
    suspicions: Option<watch::Receiver<u64>>,
    /// How many of these were looked into.
    cleared: AtomicU64,
    /// Whether what the bus holds may be another log, of which nothing may be stored.
    foreign: AtomicBool,
}

impl Gate {
    /// A gate that is closed for `reason` until it is opened.
    #[must_use]
    pub fn closed(reason: &str) -> Self {
        Self::with(reason, None)
    }

    /// The same, of a bus that counts what it suspects.
    #[must_use]
    pub fn closed_watching(suspicions: watch::Receiver<u64>, reason: &str) -> Self {
        Self::with(reason, Some(suspicions))
    }

    fn with(reason: &str, suspicions: Option<watch::Receiver<u64>>) -> Self {
        Self(Arc::new(Inner {
            closed: watch::Sender::new(Some(reason.to_owned())),
            doubted: Notify::new(),
            doubts: AtomicU64::new(0),
            suspicions,
            cleared: AtomicU64::new(0),
            foreign: AtomicBool::new(false),
        }))
    }

    /// A gate of a log that cannot part from its store: the memory bus's.
    #[must_use]
    pub fn open() -> Self {
        let gate = Self::closed("");
        gate.0.closed.send_replace(None);
        gate
    }

    /// `Err` with the reason while publishing must wait.
    ///
    /// # Errors
    /// The reason, in words for an operator.
    pub fn check(&self) -> Result<(), String> {
        match &*self.0.closed.borrow() {
            Some(reason) => Err(reason.clone()),
            None if self.suspected() != self.0.cleared.load(Ordering::Acquire) => {
                Err(super::CHECKING.to_owned())
            }
            None => Ok(()),
        }
    }

    /// How often the bus has suspected something: what a check looks into that begins now.
    pub(super) fn suspected(&self) -> u64 {
        self.0.suspicions.as_ref().map_or(0, |suspicions| *suspicions.borrow())
    }

    /// Waits until publishing is allowed for the first time.
    pub async fn opened(&self) {
        // The sender lives in the gate itself, so this ends by the value alone.
        let _ = self.0.closed.subscribe().wait_for(Option::is_none).await;
    }

    /// Opens it after a check that began when the bus had suspected something so often, and when it had been
    /// closed so often; `false` where it was closed since then: what was doubted is still to be looked into.
    pub(super) fn open_now(&self, suspected: u64, doubts: u64) -> bool {
        self.0.closed.send_if_modified(|closed| {
            // Counted before the reason is set, so a doubt that is not seen here closes it after this.
            if self.times_closed() != doubts {
                return false;
            }
            self.0.cleared.store(suspected, Ordering::Release);
            self.0.foreign.store(false, Ordering::Release);
            *closed = None;
            true
        })
    }

    /// Waits until somebody doubts.
    pub(super) async fn check_requested(&self) {
        self.0.doubted.notified().await;
    }

    /// Closes the gate and asks for a new check.
    pub fn recheck(&self) {
        self.close(super::CHECKING);
        self.0.doubted.notify_one();
    }

    /// Counts how often it was closed: what was read of the log before may stand there no more.
    #[must_use]
    pub fn times_closed(&self) -> u64 {
        self.0.doubts.load(Ordering::Acquire)
    }

    /// Whether what the bus holds may be another log: until a check has opened the gate again, nothing
    /// of it may be stored.
    #[must_use]
    pub fn is_log_unverified(&self) -> bool {
        self.0.foreign.load(Ordering::Acquire)
    }

    /// Closes it because what the bus holds may be another log.
    pub(super) fn close_unverified(&self, reason: &str) {
        self.0.foreign.store(true, Ordering::Release);
        self.close(reason);
    }

    /// Closes it with a reason.
    pub(super) fn close(&self, reason: &str) {
        self.0.doubts.fetch_add(1, Ordering::AcqRel);
        self.0.closed.send_replace(Some(reason.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_that_comes_during_a_check_is_not_opened_over() {
        let gate = Gate::closed("at first");
        let doubts = gate.times_closed();
        gate.recheck();
        assert!(!gate.open_now(0, doubts));
        assert!(gate.check().is_err());
        assert!(gate.open_now(0, gate.times_closed()));
        assert_eq!(gate.check(), Ok(()));
    }

    #[test]
    fn is_closed_from_the_moment_of_a_suspicion_until_that_was_looked_into() {
        let suspicions = watch::Sender::new(0);
        let gate = Gate::closed_watching(suspicions.subscribe(), "at first");
        assert_eq!(gate.check(), Err("at first".to_owned()));
        assert!(gate.open_now(gate.suspected(), gate.times_closed()));
        assert_eq!(gate.check(), Ok(()));
        let before = gate.suspected();
        suspicions.send_modify(|count| *count += 1);
        assert!(gate.check().is_err(), "nobody has closed it yet");
        assert!(gate.open_now(before, gate.times_closed()));
        assert!(gate.check().is_err(), "the check began before");
        assert!(gate.open_now(gate.suspected(), gate.times_closed()));
        assert_eq!(gate.check(), Ok(()));
    }
}
