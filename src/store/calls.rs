//! Counts the calls on a pool, since the pool does not say how many wait for a connection.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The calls in progress: those that have a connection and those that wait for one.
#[derive(Debug, Default)]
pub(super) struct Calls(AtomicUsize);

/// A call in progress. It ends when this is dropped.
pub(super) struct Call<'a>(&'a Calls);

impl Calls {
    /// Begins a call.
    pub(super) fn begin(&self) -> Call<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Call(self)
    }

    /// How many calls are in progress.
    pub(super) fn in_progress(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
