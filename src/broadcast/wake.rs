//! Waking the members of one group.
//!
//! Invariant: a member that registered before it looked is woken by what came after its
//! look. Registering takes no lock: with thousands of members of one group a list that each
//! of them enters and leaves at every message is most of what waking costs.

use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};

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
        self.0.lock()
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    const MEMBERS: usize = 20;
    const LAST: u64 = 20_000;

    /// Sees every number or a later one, and the last.
    async fn follow(wake: Arc<Wake>, shown: Arc<AtomicU64>) -> u64 {
        let (waiter, mut seen) = (wake.enter(), 0);
        while seen < LAST {
            waiter.until(|| shown.load(Ordering::Acquire) > seen).await;
            seen = shown.load(Ordering::Acquire);
        }
        wake.leave(&waiter);
        seen
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_waits_while_others_come_and_go_misses_no_wake() {
        let (wake, shown) = (Arc::new(Wake::default()), Arc::new(AtomicU64::new(0)));
        let members: Vec<_> = (0..MEMBERS)
            .map(|_| tokio::spawn(follow(Arc::clone(&wake), Arc::clone(&shown))))
            .collect();
        for number in 1..=LAST {
            shown.store(number, Ordering::Release);
            wake.all();
            if number % 64 == 0 {
                // Long enough for members to fall asleep again.
                tokio::task::yield_now().await;
            }
        }
        for member in members {
            let seen = tokio::time::timeout(Duration::from_secs(20), member).await;
            assert_eq!(seen.expect("a wake was missed").expect("follows"), LAST);
        }
        assert!(wake.waiters().is_empty(), "who left is still woken");
    }
}
