//! Wakes the members of a group.
//!
//! Invariant: a member registers its waker before it checks its condition, so every later change wakes it.
//! Waiting takes no lock. If thousands of members entered and left a list at every message, that would be
//! most of the cost of waking.

use std::sync::Arc;
use std::task::Poll;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// The wakers of all members of a group.
#[derive(Debug, Default)]
pub(super) struct WakeList(Mutex<Vec<Arc<AtomicWaker>>>);

/// One member's waker.
#[derive(Debug)]
pub(super) struct Waiter(Arc<AtomicWaker>);

impl WakeList {
    /// Wakes every member that waits.
    pub(super) fn wake_all(&self) {
        self.0.lock().iter().for_each(|waker| waker.wake());
    }

    pub(super) fn register(&self) -> Waiter {
        let waker = Arc::new(AtomicWaker::new());
        self.0.lock().push(Arc::clone(&waker));
        Waiter(waker)
    }

    pub(super) fn unregister(&self, waiter: &Waiter) {
        let mut wakers = self.0.lock();
        if let Some(at) = wakers.iter().position(|other| Arc::ptr_eq(other, &waiter.0)) {
            wakers.swap_remove(at);
        }
    }
}

impl Waiter {
    /// Returns once `condition` holds. It is checked now and each time the group is woken.
    pub(super) async fn until(&self, condition: impl Fn() -> bool) {
        std::future::poll_fn(|cx| {
            self.0.register(cx.waker());
            if condition() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    const MEMBERS: usize = 20;
    const LAST: u64 = 20_000;

    /// Reads numbers until the last. May skip some, but must see the last.
    async fn follow(wakes: Arc<WakeList>, shown: Arc<AtomicU64>) -> u64 {
        let (waiter, mut seen) = (wakes.register(), 0);
        while seen < LAST {
            waiter.until(|| shown.load(Ordering::Acquire) > seen).await;
            seen = shown.load(Ordering::Acquire);
        }
        wakes.unregister(&waiter);
        seen
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_wake_is_missed_while_members_come_and_go() {
        let (wakes, shown) = (Arc::new(WakeList::default()), Arc::new(AtomicU64::new(0)));
        let members: Vec<_> = (0..MEMBERS)
            .map(|_| tokio::spawn(follow(Arc::clone(&wakes), Arc::clone(&shown))))
            .collect();
        for number in 1..=LAST {
            shown.store(number, Ordering::Release);
            wakes.wake_all();
            if number % 64 == 0 {
                // Long enough for the members to wait again.
                tokio::task::yield_now().await;
            }
        }
        for member in members {
            let seen = tokio::time::timeout(Duration::from_secs(20), member).await;
            assert_eq!(seen.expect("a wake was missed").expect("follows"), LAST);
        }
        assert!(wakes.0.lock().is_empty(), "a member that left is still registered");
    }
}
