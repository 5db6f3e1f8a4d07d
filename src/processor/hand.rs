//! What this process has in hand of a consumer: kept alive until it is settled.
//!
//! Invariant: while a [`Ticket`] lives, nobody else is given its message: its
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

use super::feed::Window;
use crate::bus::durable::{Answer, Answers, Receipt};
use crate::message::Record;
use crate::store::Store;
use crate::store::work::Attempt;

/// Where a message came from, and so how its end is told.
#[derive(Clone)]
pub(super) enum Origin {
    /// A delivery of the bus.
    Bus(Arc<BusDelivery>),
    /// The feed from the store.
    Feed(Arc<Window>),
    /// A lease of one that was set aside.
    Lease(Uuid),
}

/// A delivery of the bus, of one placing of the consumer.
pub(super) struct BusDelivery {
    pub receipt: Receipt,
    pub answers: Arc<dyn Answers>,
    pub placing: CancellationToken,
}

/// A message in hand.
pub(super) struct Ticket {
    pub message: Record,
    /// The number of this attempt.
    pub attempt: u32,
    /// Errors of earlier ones.
    pub attempts: Vec<Attempt>,
    /// Whether an earlier attempt may have been made that nobody counted.
    pub doubtful: bool,
    pub origin: Origin,
    /// Its place among those in hand.
    pub _room: OwnedSemaphorePermit,
    pub _hold: Hold,
}

impl Origin {
    async fn answer(&self, answer: Answer) {
        if let Self::Bus(delivery) = self
            && !delivery.placing.is_cancelled()
        {
            delivery.answers.answer(&delivery.receipt, answer).await;
        }
    }

    /// Whether the consumer was put elsewhere since: whoever stands there has the message.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Bus(delivery) => delivery.placing.is_cancelled(),
            Self::Feed(window) => window.placing.is_cancelled(),
            Self::Lease(_) => false,
        }
    }

    /// The message is done with, or kept elsewhere. A lease ends in the store alone.
    pub(super) async fn done(&self, seq: u64) {
        match self {
            Self::Bus(_) => self.answer(Answer::Ack).await,
            Self::Feed(window) => window.done(seq),
            Self::Lease(_) => {}
        }
    }

    /// The message was not begun: another may have it. What was fed stays where it was.
    pub(super) async fn give_back(&self) {
        self.answer(Answer::GiveBack).await;
    }
}

/// All that is in hand.
#[derive(Default)]
pub(super) struct Hand {
    next: AtomicU64,
    held: Mutex<HashMap<u64, Held>>,
}

struct Held {
    since: Instant,
    seq: u64,
    origin: Origin,
}

/// Holds one message; dropped, it lets go.
pub(super) struct Hold {
    hand: Arc<Hand>,
    id: Option<u64>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.hand.held().remove(&id);
        }
    }
}

impl Hand {
    fn held(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock()
    }

    /// Takes a message in hand.
    pub(super) fn hold(self: &Arc<Self>, seq: u64, origin: &Origin) -> Hold {
        // What is fed belongs to whoever holds the feed.
        let id = (!matches!(origin, Origin::Feed(_))).then(|| {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let held = Held { since: Instant::now(), seq, origin: origin.clone() };
            self.held().insert(id, held);
            id
        });
        Hold { hand: Arc::clone(self), id }
    }

    /// Prolongs what has been in hand for `age` at least.
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
                other => other.answer(Answer::Progress).await,
            }
        }
        if !leases.is_empty()
            && let Err(error) = store.prolong(consumer, &leases, lease_for).await
        {
            tracing::debug!(%error, consumer, "leases could not be prolonged");
        }
    }
}
