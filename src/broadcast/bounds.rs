//! What is kept at the moment, in the bus and the store.
//!
//! Invariant: told only when it is surely true, so that a client waits rather than being
//! misled. Both are asked after the stream was; streams that begin together ask together.

use crate::bus::Bounds;
use crate::limits::HEALTH_WAIT;
use crate::store::LogState;

use super::subscription::Start;
use super::{Broadcaster, singleflight};

/// What bus and store said, if they could be asked.
pub(super) type KnownBounds = (Option<Bounds>, Option<LogState>);

/// The question about it.
pub(super) type BoundsFlight = singleflight::Singleflight<KnownBounds>;

async fn ask(broadcaster: &Broadcaster) -> KnownBounds {
    let (bus, store) = tokio::join!(
        broadcaster.bus.identity(),
        tokio::time::timeout(HEALTH_WAIT, broadcaster.store.log_state())
    );
    (bus.ok().map(|identity| identity.bounds), store.ok().and_then(Result::ok))
}

/// Head and first sequence of all that is kept; `None` when they cannot
/// be told truly now.
pub(super) async fn bounds(
    broadcaster: &Broadcaster,
    start: Start,
    ring_head: u64,
) -> Option<(u64, u64)> {
    let (bus, store) = broadcaster.kept.ask(ask(broadcaster)).await;
    let known = broadcaster.committed.seen();
    let head = ring_head
        .max(known)
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
        // What the bus lacks may be in the store, which cannot be asked.
        (None, Some(first)) if oldest_wanted < first => return None,
        (None, first) => first?,
        (Some(state), first) => match (state.first_seq, first) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        },
    };
    Some((head, first.clamp(1, head + 1)))
}
