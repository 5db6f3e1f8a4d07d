//! The primitives of [`super::hub`], apart so that the model check can put
//! loom's in their place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard};

/// Wakes the subscribers of one group.
#[derive(Debug, Default)]
pub(super) struct Wake(pub(super) tokio::sync::Notify);

impl Wake {
    pub(super) fn all(&self) {
        self.0.notify_waiters();
    }
}
