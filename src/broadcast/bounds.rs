//! The first and the last sequence of the log: of what bus and store hold together.
//!
//! Invariant: bounds are reported only if they are certainly right; otherwise the client waits. Bus and store
//! are asked after the subscription was opened. Subscriptions that open at the same time share one request.

use std::sync::Arc;

use super::start::Start;
use crate::bus::{Bounds, Bus};
use crate::committed::Committed;
use crate::limits::HEALTH_WAIT;
use crate::singleflight::Singleflight;
use crate::store::{LogState, Store};

/// Reads the bounds of the log.
pub(super) struct LogBounds {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    committed: Arc<Committed>,
    requests: Singleflight<(Option<Bounds>, Option<LogState>)>,
}

impl LogBounds {
    pub(super) fn new(bus: Arc<dyn Bus>, store: Arc<dyn Store>, committed: Arc<Committed>) -> Self {
        Self { bus, store, committed, requests: Singleflight::default() }
    }

    /// The bounds according to the bus and to the store; `None` for one that does not answer.
    async fn request(&self) -> (Option<Bounds>, Option<LogState>) {
        let (bus, store) = tokio::join!(
            self.bus.identity(),
            tokio::time::timeout(HEALTH_WAIT, self.store.log_state())
        );
        (bus.ok().map(|identity| identity.bounds), store.ok().and_then(Result::ok))
    }

    /// The bounds of the log for a subscription that begins at `start`; `None` while they are not certain.
    pub(super) async fn read(&self, start: Start, ring_head: u64) -> Option<Bounds> {
        let (bus, store) = self.requests.run(self.request()).await;
        let head = ring_head
            .max(self.committed.seen())
            .max(bus.map_or(0, |bounds| bounds.last))
            .max(store.as_ref().map_or(0, |state| state.committed_through));
        let in_bus = bus.map(|bounds| bounds.first);
        let oldest_wanted = match start {
            Start::After(seen) if seen > head && bus.is_none() => return None,
            Start::Now => u64::MAX,
            Start::After(seen) => seen + 1,
            Start::From(from) => from,
            Start::First => 0,
        };
        let first = match (&store, in_bus) {
            // The store does not answer, and it may hold the older messages that the client wants.
            (None, Some(first)) if oldest_wanted < first => return None,
            (None, first) => first?,
            (Some(state), first) => match (state.first_seq, first) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b)?,
            },
        };
        Some(Bounds { first: first.clamp(1, head + 1), last: head })
    }
}
