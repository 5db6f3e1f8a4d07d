//! Waking the members of one group.
//!
//! Invariant: a member that registered before it looked is woken by what came after its
//! look. Registering takes no lock: with thousands of members of one group a list that each
//! of them enters and leaves at every message is most of what waking costs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;

/// All members of a group.
#[derive(Debug, Default)]
pub(super) struct Wake(Mutex<Vec<Arc<AtomicWaker>>>);

/// One member's place among them.
#[derive(Debug)]
pub(super) struct Waiter(Arc<AtomicWaker>);

impl Wake {
    /// Wakes every member that waits.
    pub(super) fn all(&self) {
        self.waiters().iter().for_each(|waiter| waiter.wake());
    }

    pub(super) fn enter(&self) -> Waiter {
        let waiter = Arc::new(AtomicWaker::new());
        self.waiters().push(Arc::clone(&waiter));
        Waiter(waiter)
    }

    pub(super) fn leave(&self, waiter: &Waiter) {
        let mut waiters = self.waiters();
        if let Some(at) = waiters.iter().position(|other| Arc::ptr_eq(other, &waiter.0)) {
            waiters.swap_remove(at);
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Arc<AtomicWaker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Returns once `there` is true, which is looked at now and whenever the group was woken.
    pub(super) async fn until(&self, there: impl Fn() -> bool) {
        std::future::poll_fn(|cx| {
            self.register(cx.waker());
            if there() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn register(&self, waker: &Waker) {
        self.0.register(waker);
    }
}
