//! Where workers wait, by queue.
//!
//! Invariant: there is an entry for as long as somebody has a place at it and no longer, so
//! a name that nobody waits at costs nothing, however many were tried.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// How many have a place, and what they share.
type Entries<T> = HashMap<String, (usize, Arc<T>)>;

/// What those who wait at a queue share.
pub(super) struct Waits<T>(Mutex<Entries<T>>);

/// A place to wait at.
pub(super) struct Place<'a, T> {
    waits: &'a Waits<T>,
    queue: String,
    shared: Arc<T>,
}

impl<T: Default> Waits<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// A place at this queue.
    pub(super) fn at(&self, queue: &str) -> Place<'_, T> {
        let mut entries = self.entries();
        let (places, shared) = entries.entry(queue.to_owned()).or_default();
        *places += 1;
        Place { waits: self, queue: queue.to_owned(), shared: Arc::clone(shared) }
    }
}

impl<T> Waits<T> {
    /// Tells those who wait at a queue, if anybody does.
    pub(super) fn tell(&self, queue: &str, tell: impl FnOnce(&T)) {
        if let Some((_, shared)) = self.entries().get(queue) {
            tell(shared);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock()
    }
}

impl<T> Deref for Place<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.shared
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut entries = self.waits.entries();
        if let Some((places, _)) = entries.get_mut(&self.queue) {
            *places -= 1;
            if *places == 0 {
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
    fn an_entry_goes_with_the_last_who_waits() {
        let waits = Waits::<AtomicU8>::new();
        let told = |place: &Place<'_, AtomicU8>| place.load(Ordering::Relaxed);
        waits.tell("q", |_| panic!("nobody waits"));
        let (one, other) = (waits.at("q"), waits.at("q"));
        waits.tell("q", |shared| shared.store(7, Ordering::Relaxed));
        assert_eq!((told(&one), told(&other)), (7, 7));
        drop(one);
        assert_eq!(waits.entries().len(), 1);
        drop(other);
        assert!(waits.entries().is_empty());
        assert_eq!(told(&waits.at("q")), 0, "another entry");
    }
}
