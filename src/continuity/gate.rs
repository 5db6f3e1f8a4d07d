//! The gate, which must be open for publishing.
//!
//! Invariant: the gate is closed until a check has found that the log continues the store. It is closed again
//! from the moment at which the bus counts a suspicion: a publish at that moment must not depend on a task
//! that has yet to close the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// The reason that refused publishes get while a check runs.
pub(super) const CHECKING: &str = "the log's continuity is being checked";

/// Allows or refuses publishing. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The reason why the gate is closed; `None` while it is open.
    closed: watch::Sender<Option<String>>,
    check_requested: Notify,
    times_closed: AtomicU64,
    /// How often the bus has suspected that the stream is another one.
    suspicions: Option<watch::Receiver<u64>>,
    /// How many of these suspicions have been checked.
    checked: AtomicU64,
    /// Whether the bus may have another log, whose entries must not be stored.
    log_unverified: AtomicBool,
}

impl Gate {
    /// A gate that is closed until a check opens it, and again whenever `suspicions` rises.
    #[must_use]
    pub fn closed_watching(suspicions: watch::Receiver<u64>, reason: &str) -> Self {
        Self::with(reason, Some(suspicions))
    }

    fn with(reason: &str, suspicions: Option<watch::Receiver<u64>>) -> Self {
        Self(Arc::new(Inner {
            closed: watch::Sender::new(Some(reason.to_owned())),
            check_requested: Notify::new(),
            times_closed: AtomicU64::new(0),
            suspicions,
            checked: AtomicU64::new(0),
            log_unverified: AtomicBool::new(false),
        }))
    }

    /// An open gate, for the memory bus: its log cannot differ from the store.
    #[must_use]
    pub fn open() -> Self {
        let gate = Self::with("", None);
        gate.0.closed.send_replace(None);
        gate
    }

    /// Checks that publishing is allowed now.
    ///
    /// # Errors
    /// The reason why the gate is closed, for the operator.
    pub fn check(&self) -> Result<(), String> {
        match &*self.0.closed.borrow() {
            Some(reason) => Err(reason.clone()),
            None if self.suspected() != self.0.checked.load(Ordering::Acquire) => {
                Err(CHECKING.to_owned())
            }
            None => Ok(()),
        }
    }

    /// How many suspicions the bus has counted. A check that begins now covers all of them.
    pub(super) fn suspected(&self) -> u64 {
        self.0.suspicions.as_ref().map_or(0, |suspicions| *suspicions.borrow())
    }

    /// Waits until publishing is allowed for the first time.
    pub async fn opened(&self) {
        // The gate owns the sender, so this cannot fail.
        let _ = self.0.closed.subscribe().wait_for(Option::is_none).await;
    }

    /// Opens the gate after a check. The counts of suspicions and of closings are those from the
    /// beginning of the check. Returns `false` if the gate was closed since then, so another check is
    /// due.
    pub(super) fn open_now(&self, suspected: u64, times_closed: u64) -> bool {
        self.0.closed.send_if_modified(|closed| {
            // `close` counts before it sets the reason. So a closing that is not counted here yet
            // sets its reason after this.
            if self.times_closed() != times_closed {
                return false;
            }
            self.0.checked.store(suspected, Ordering::Release);
            self.0.log_unverified.store(false, Ordering::Release);
            *closed = None;
            true
        })
    }

    /// Waits until [`Gate::recheck`] is called.
    pub(super) async fn check_requested(&self) {
        self.0.check_requested.notified().await;
    }

    /// Closes the gate and requests a new check.
    pub fn recheck(&self) {
        self.close(CHECKING);
        self.0.check_requested.notify_one();
    }

    /// How often the gate was closed. Entries that were read before the last closing may no longer be in
    /// the log.
    #[must_use]
    pub fn times_closed(&self) -> u64 {
        self.0.times_closed.load(Ordering::Acquire)
    }

    /// Whether the bus may have another log. Its entries must not be stored until a check has opened the
    /// gate.
    #[must_use]
    pub fn is_log_unverified(&self) -> bool {
        self.0.log_unverified.load(Ordering::Acquire)
    }

    /// Closes the gate because the bus may have another log.
    pub(super) fn close_unverified(&self, reason: &str) {
        self.0.log_unverified.store(true, Ordering::Release);
        self.close(reason);
    }

    /// Closes the gate.
    pub(super) fn close(&self, reason: &str) {
        self.0.times_closed.fetch_add(1, Ordering::AcqRel);
        self.0.closed.send_replace(Some(reason.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_does_not_open_a_gate_that_was_closed_during_it() {
        let gate = Gate::with("at first", None);
        let times_closed = gate.times_closed();
        gate.recheck();
        assert!(!gate.open_now(0, times_closed));
        assert!(gate.check().is_err());
        assert!(gate.open_now(0, gate.times_closed()));
        assert_eq!(gate.check(), Ok(()));
    }

    #[test]
    fn is_closed_from_the_moment_of_a_suspicion_until_a_check_of_it() {
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
