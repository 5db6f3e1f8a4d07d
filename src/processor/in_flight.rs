//! What this process has in in_flight of a consumer: kept alive until it is settled.
//!
//! Invariant: while a [`InFlightMessage`] lives, nobody else is given its message: its
//! delivery gets progress, its lease is prolonged. Dropped unsettled, that ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::feed_progress::FeedProgress;
use crate::bus::durable::{AckHandle, AckKind, Acker};
use crate::limits::NATS_NAK_DELAY;
use crate::message::Record;
use crate::store::Store;
use crate::store::work::Attempt;

/// Where a message came from, and so how its end is told.
#[derive(Clone)]
pub(super) enum Origin {
    /// A delivery of the bus.
    Bus(Arc<BusDelivery>),
    /// The feed from the store.
    Feed(Arc<FeedProgress>),
    /// A lease of one that was set aside.
    Lease(Uuid),
}

/// A delivery of the bus, of one superseded of the consumer.
pub(super) struct BusDelivery {
    pub ack_handle: AckHandle,
    pub acker: Arc<dyn Acker>,
    pub superseded: CancellationToken,
}

/// A message in in_flight.
pub(super) struct InFlightMessage {
    pub message: Record,
    /// The number of this attempt.
    pub attempt: u32,
    /// Errors of earlier ones.
    pub attempts: Vec<Attempt>,
    /// Whether an earlier attempt may have been made that nobody counted.
    pub doubtful: bool,
    pub origin: Origin,
    /// Its place among those in in_flight.
    pub _room: OwnedSemaphorePermit,
    pub _hold: InFlightGuard,
}

impl Origin {
    async fn ack(&self, kind: AckKind) {
        if let Self::Bus(delivery) = self
            && !delivery.superseded.is_cancelled()
        {
            delivery.acker.ack(&delivery.ack_handle, kind).await;
        }
    }

    /// Whether the consumer was put elsewhere since: whoever stands there has the message.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Bus(delivery) => delivery.superseded.is_cancelled(),
            Self::Feed(progress) => progress.superseded.is_cancelled(),
            Self::Lease(_) => false,
        }
    }

    /// The message is done with, or kept elsewhere. A lease ends in the store alone.
    pub(super) async fn done(&self, seq: u64) {
        match self {
            Self::Bus(_) => self.ack(AckKind::Ack).await,
            Self::Feed(progress) => progress.done(seq),
            Self::Lease(_) => {}
        }
    }

    /// The message was not begun: another may have it. What was fed stays where it was.
    pub(super) async fn give_back(&self) {
        self.ack(AckKind::Nak(NATS_NAK_DELAY)).await;
    }
}

/// All that is in in_flight.
#[derive(Default)]
pub(super) struct InFlight {
    next: AtomicU64,
    held: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    since: Instant,
    seq: u64,
    origin: Origin,
}

/// Holds one message; dropped, it lets go.
pub(super) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    id: Option<u64>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.in_flight.held().remove(&id);
        }
    }
}

impl InFlight {
    fn held(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.held.lock()
    }

    /// Takes a message in in_flight.
    pub(super) fn hold(self: &Arc<Self>, seq: u64, origin: &Origin) -> InFlightGuard {
        // What is fed belongs to whoever holds the feed.
        let id = (!matches!(origin, Origin::Feed(_))).then(|| {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let held = Entry { since: Instant::now(), seq, origin: origin.clone() };
            self.held().insert(id, held);
            id
        });
        InFlightGuard { in_flight: Arc::clone(self), id }
    }

    /// Prolongs what has been in in_flight for `age` at least.
    pub(super) async fn prolong(
        &self,
        store: &dyn Store,
        consumer: &str,
        age: Duration,
        lease_for: Duration,
    ) {
        let old: Vec<(u64, Origin)> = {
            let held = self.held();
            let old = held.values().filter(|held| held.since.elapsed() >= age);
            old.map(|held| (held.seq, held.origin.clone())).collect()
        };
        let mut leases = Vec::new();
        for (seq, origin) in old {
            match origin {
                Origin::Lease(lease) => leases.push((seq, lease)),
                other => other.ack(AckKind::Progress).await,
            }
        }
        if !leases.is_empty()
            && let Err(error) = store.extend_leases(consumer, &leases, lease_for).await
        {
            tracing::debug!(%error, consumer, "leases could not be prolonged");
        }
    }
}
