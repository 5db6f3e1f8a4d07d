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
    /// Why publishing is not possible, while it is not.
    pub fault: watch::Sender<Option<String>>,
    pub first: AtomicU64,
    /// Whether the writer is committing.
    pub busy: AtomicBool,
}

impl Shared {
    /// Why a publish would only wait: the journal does not answer, and a commit is being tried already.
    pub(super) fn refusal(&self) -> Option<String> {
        let fault = self.fault.borrow();
        fault.clone().filter(|_| self.busy.load(Ordering::Relaxed))
    }
}
