//! What readers, publishers and the writer of the memory bus share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use super::journal::Journal;
use super::tail::Tail;

/// State that readers, publishers and the writer share.
pub(super) struct Shared {
    pub journal: Arc<dyn Journal>,
    pub tail: Tail,
    pub last: watch::Sender<u64>,
    /// The reason why publishing is not possible; `None` while it is.
    pub fault: watch::Sender<Option<String>>,
    pub first: AtomicU64,
    /// Whether the writer is committing.
    pub busy: AtomicBool,
}

impl Shared {
    /// Refuses a publish that could only wait: the journal does not answer, and the writer is already
    /// retrying a commit.
    pub(super) fn refusal(&self) -> Option<String> {
        let fault = self.fault.borrow();
        fault.clone().filter(|_| self.busy.load(Ordering::Relaxed))
    }
}
