//! One reader of the log, a ring of encoded frames, and whoever watches.
//!
//! Invariants: an event is encoded once and its bytes are shared; no reader is
//! skipped ahead: who falls behind the ring reads the store, and behind the
//! store the bus, then joins the live edge by sequence. A slow reader costs no
//! memory, since nothing is queued for it.

mod bounds;
mod event;
#[cfg(test)]
mod filter_cost_tests;
mod follower;
pub mod frame;
mod hub;
mod index;
#[cfg(test)]
mod model;
mod replay;
mod ring_reader;
mod singleflight;
mod store_replay;
mod subscription;
mod sync;
mod wake;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Reader};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, RING_BYTES};
use crate::message::{LogEntry, decode};
use crate::store::Store;
use bounds::BoundsFlight;
use event::Event;
use hub::Hub;
pub use ring_reader::{RingEntries, RingRead, RingReader};
use store_replay::StoreReplay;
pub use subscription::{Start, Subscription};
pub use watch::{FilterWatch, WatchEvent};

/// Follows the log and serves subscriptions.
pub struct Broadcaster {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    committed: Arc<Committed>,
    ring_size: usize,
    hub: tokio::sync::OnceCell<Hub>,
    started: tokio::sync::Notify,
    open: AtomicUsize,
    /// Bytes that streams hold for their clients.
    held: AtomicUsize,
    kept: BoundsFlight,
    past: StoreReplay,
}

impl Broadcaster {
    /// A broadcaster whose ring is empty until [`Self::run`] reads the log.
    #[must_use]
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        committed: Arc<Committed>,
        ring_size: usize,
    ) -> Self {
        Self {
            bus,
            store,
            committed,
            ring_size,
            hub: tokio::sync::OnceCell::new(),
            started: tokio::sync::Notify::new(),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            kept: BoundsFlight::default(),
            past: StoreReplay::new(),
        }
    }

    /// Reads the log from its end on, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let follow = async {
            let mut next = loop {
                match self.bus.identity().await {
                    Ok(identity) => break identity.bounds.last + 1,
                    Err(error) => {
                        tracing::debug!(%error, "live streaming waits for the bus");
                        tokio::time::sleep(FAULT_PAUSE).await;
                    }
                }
            };
            let _ = self.hub.set(Hub::new(next - 1, self.ring_size, RING_BYTES));
            self.started.notify_waiters();
            loop {
                let Err(error) = self.follow(&mut next).await;
                tracing::warn!(%error, "live streaming was interrupted and goes on");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        };
        cancel.run_until_cancelled(follow).await;
    }

    async fn follow(&self, next: &mut u64) -> Result<std::convert::Infallible, BusError> {
        let mut reader: Box<dyn Reader> = self.bus.reader(*next).await?;
        loop {
            let events = self.encode(reader.next().await?, next);
            if let Some(hub) = self.hub.get() {
                hub.push(events);
                metrics::gauge!("agentbus_ring_head").set(hub.head() as f64);
            }
        }
    }

    /// Encodes entries from `next` on.
    fn encode(&self, entries: Vec<LogEntry>, next: &mut u64) -> Vec<Arc<Event>> {
        let mut events = Vec::with_capacity(entries.len());
        for raw in entries {
            if raw.seq >= *next {
                *next = raw.seq + 1;
                self.committed.saw(raw.seq);
                events.push(Event::new(decode(raw, self.bus.log_name())));
            }
        }
        events
    }

    /// The ring, once the log could be read.
    async fn hub(&self) -> &Hub {
        loop {
            let started = self.started.notified();
            if let Some(hub) = self.hub.get() {
                return hub;
            }
            started.await;
        }
    }

    /// The live edge as this process knows it; `None` before the log was read.
    #[must_use]
    pub fn head(&self) -> Option<u64> {
        self.hub.get().map(Hub::head)
    }

    /// Streams open now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Bytes that open streams hold for clients that have not taken them yet: at most
    /// [`STREAM_BYTES`](crate::limits::STREAM_BYTES) each. What several share counts for each.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Distinct filters listened to now.
    #[must_use]
    pub fn filter_groups(&self) -> usize {
        self.hub.get().map_or(0, Hub::group_count)
    }
}
