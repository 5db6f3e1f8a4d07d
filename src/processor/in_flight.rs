//! The messages of a consumer in flight in this process: kept alive until they are settled.
//!
//! Invariant: while an [`InFlightMessage`] lives, no other process gets its message: its delivery gets progress, its
//! lease is prolonged. Dropped unsettled, that ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
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

/// Where a message came from, and so where its outcome is reported.
#[derive(Clone)]
pub(super) enum Origin {
    /// A delivery of the bus.
    Bus(Arc<BusDelivery>),
    /// The feed from the store.
    Feed(Arc<FeedProgress>),
    /// A lease of a message that was set aside.
    Lease(Uuid),
}

/// A delivery of the bus, to one generation of the consumer.
pub(super) struct BusDelivery {
    pub ack_handle: AckHandle,
    pub acker: Arc<dyn Acker>,
    /// Cancelled when the consumer was moved to another position: a later generation has the message.
    pub superseded: CancellationToken,
}

/// A message as a source delivers it.
pub(super) struct Incoming {
    pub record: Record,
    /// The number of this attempt, from 1 on.
    pub attempt: u32,
    /// Failed attempts before it.
    pub attempts: Vec<Attempt>,
    /// Whether another process may have begun an attempt that nobody counted.
    pub is_doubtful: bool,
    pub origin: Origin,
}

/// A message in flight.
pub(super) struct InFlightMessage {
    incoming: Incoming,
    _permit: OwnedSemaphorePermit,
    _guard: InFlightGuard,
}

impl std::ops::Deref for InFlightMessage {
    type Target = Incoming;

    fn deref(&self) -> &Incoming {
        &self.incoming
    }
}

impl InFlightMessage {
    /// Reports that the message is processed, or that the store keeps it. A lease ends in the store alone.
    pub(super) async fn done(&self) {
        match &self.origin {
            Origin::Bus(_) => self.origin.ack(AckKind::Ack).await,
            Origin::Feed(progress) => progress.done(self.record.seq),
            Origin::Lease(_) => {}
        }
    }
}

impl Origin {
    async fn ack(&self, kind: AckKind) {
        if let Self::Bus(delivery) = self
            && !delivery.superseded.is_cancelled()
        {
            delivery.acker.ack(&delivery.ack_handle, kind).await;
        }
    }

    /// Whether the consumer was moved since: a later generation has the message.
    pub(super) fn is_superseded(&self) -> bool {
        match self {
            Self::Bus(delivery) => delivery.superseded.is_cancelled(),
            Self::Feed(progress) => progress.superseded.is_cancelled(),
            Self::Lease(_) => false,
        }
    }

    /// Reports that no attempt has begun: another process may get the message. In a feed it stays open.
    pub(super) async fn nack(&self) {
        self.ack(AckKind::Nak(NATS_NAK_DELAY)).await;
    }
}

/// All messages in flight that must be kept alive. Those of a feed need not: they belong to the holder of its claim.
#[derive(Default)]
pub(super) struct InFlight {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    since: Instant,
    seq: u64,
    origin: Origin,
}

/// Keeps one message alive until it is dropped.
struct InFlightGuard {
    all: Arc<InFlight>,
    id: Option<u64>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.all.entries.lock().remove(&id);
        }
    }
}

impl InFlight {
    /// Keeps a message alive, and its permit with it.
    pub(super) fn add(
        self: &Arc<Self>,
        incoming: Incoming,
        permit: OwnedSemaphorePermit,
    ) -> InFlightMessage {
        let id = (!matches!(incoming.origin, Origin::Feed(_))).then(|| {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (seq, origin) = (incoming.record.seq, incoming.origin.clone());
            self.entries.lock().insert(id, Entry { since: Instant::now(), seq, origin });
            id
        });
        let guard = InFlightGuard { all: Arc::clone(self), id };
        InFlightMessage { incoming, _permit: permit, _guard: guard }
    }

    /// Prolongs what has been in flight for `age` at least: leases by `lease_for`, deliveries by their ack wait.
    pub(super) async fn prolong(
        &self,
        store: &dyn Store,
        consumer: &str,
        age: Duration,
        lease_for: Duration,
    ) {
        let old: Vec<(u64, Origin)> = {
            let entries = self.entries.lock();
            let old = entries.values().filter(|entry| entry.since.elapsed() >= age);
            old.map(|entry| (entry.seq, entry.origin.clone())).collect()
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
