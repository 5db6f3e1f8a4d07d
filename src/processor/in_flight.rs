//! The messages of one consumer that are in flight in this process. They are kept alive until they are
//! settled.
//!
//! Invariant: while an [`InFlightMessage`] exists, no other process gets its message: progress acks are sent
//! for its delivery, or its lease is prolonged. That ends when it is dropped, settled or not.

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
    /// The bus delivered it.
    Bus(Arc<BusDelivery>),
    /// It belongs to a feed from the store.
    Feed(Arc<FeedProgress>),
    /// It was set aside and is leased from the store; this is the id of the lease.
    Lease(Uuid),
}

/// A delivery of the bus to one generation of the consumer.
pub(super) struct BusDelivery {
    pub ack_handle: AckHandle,
    pub acker: Arc<dyn Acker>,
    /// Cancelled when the consumer is moved to another position: then a later generation processes the
    /// message.
    pub superseded: CancellationToken,
}

/// A message as a source passes it to the runtime.
pub(super) struct Incoming {
    pub record: Record,
    /// The number of this attempt; the first is 1.
    pub attempt: u32,
    /// The failed attempts before this one.
    pub attempts: Vec<Attempt>,
    /// Whether another process may have begun an attempt that was not counted.
    pub is_doubtful: bool,
    pub origin: Origin,
}

/// A message in flight, with its permit. It is kept alive until this is dropped.
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
    /// Reports that the message was processed or that the store keeps it. Does nothing for a leased message:
    /// the store has already ended the lease.
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

    /// Whether the consumer has been moved since. If so, a later generation processes the message.
    pub(super) fn is_superseded(&self) -> bool {
        match self {
            Self::Bus(delivery) => delivery.superseded.is_cancelled(),
            Self::Feed(progress) => progress.superseded.is_cancelled(),
            Self::Lease(_) => false,
        }
    }

    /// Reports that no attempt has begun, so that another process may get the message. A message of a feed
    /// stays open.
    pub(super) async fn nack(&self) {
        self.ack(AckKind::Nak(NATS_NAK_DELAY)).await;
    }
}

/// The messages in flight that must be kept alive. Messages of a feed are not included: they belong to the
/// process that has the feed's claim.
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

/// Keeps one message alive until this is dropped.
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
    /// Begins to keep a message alive, and holds its permit.
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

    /// Prolongs everything that has been in flight for at least `age`: leases by `lease_for`, deliveries by
    /// their ack wait.
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
