//! Keeps track of the requests that wait for jobs at each queue.
//!
//! Invariant: a queue has an entry exactly while a task is registered at it. So a name that no task waits for
//! takes no memory, even if clients try many names.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

/// For each queue: how many tasks are registered, and the value that they share.
type Entries<T> = HashMap<String, (usize, Arc<T>)>;

/// Values that the tasks waiting at the same queue share.
pub(super) struct Waiters<T>(Mutex<Entries<T>>);

/// The registration of one task. Dropping it ends the registration.
pub(super) struct Waiter<'a, T> {
    all: &'a Waiters<T>,
    queue: String,
    shared: Arc<T>,
}

impl<T: Default> Waiters<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Registers a task at a queue.
    pub(super) fn register(&self, queue: &str) -> Waiter<'_, T> {
        let mut entries = self.0.lock();
        let (count, shared) = entries.entry(queue.to_owned()).or_default();
        *count += 1;
        Waiter { all: self, queue: queue.to_owned(), shared: Arc::clone(shared) }
    }
}

impl<T> Waiters<T> {
    /// Calls `notify` on the value that the tasks at a queue share, if there are any.
    pub(super) fn notify(&self, queue: &str, notify: impl FnOnce(&T)) {
        if let Some((_, shared)) = self.0.lock().get(queue) {
            notify(shared);
        }
    }
}

impl<T> Deref for Waiter<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.shared
    }
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        let mut entries = self.all.0.lock();
        if let Some((count, _)) = entries.get_mut(&self.queue) {
            *count -= 1;
            if *count == 0 {
                entries.remove(&self.queue);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    #[test]
    fn the_last_waiter_removes_the_entry() {
        let waiters = Waiters::<AtomicU8>::new();
        let shared = |waiter: &Waiter<'_, AtomicU8>| waiter.load(Ordering::Relaxed);
        waiters.notify("q", |_| panic!("no task waits"));
        let (one, other) = (waiters.register("q"), waiters.register("q"));
        waiters.notify("q", |shared| shared.store(7, Ordering::Relaxed));
        assert_eq!((shared(&one), shared(&other)), (7, 7));
        drop(one);
        assert_eq!(waiters.0.lock().len(), 1);
        drop(other);
        assert!(waiters.0.lock().is_empty());
        assert_eq!(shared(&waiters.register("q")), 0, "another entry");
    }
}
