//! Follows the log into the ring.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use super::bounds::LogBounds;
use super::event::Event;
use super::hub::Hub;
use super::store_replay::StoreReplay;
use crate::bus::{Bus, BusError};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, RING_BYTES};
use crate::message::{LogEntry, decode};
use crate::store::Store;

/// Follows the log and serves subscriptions.
pub struct Broadcaster {
    pub(super) bus: Arc<dyn Bus>,
    committed: Arc<Committed>,
    ring_size: usize,
    /// Set once the end of the log is known.
    hub: OnceCell<Arc<Hub>>,
    hub_set: Notify,
    pub(super) open_streams: AtomicUsize,
    pub(super) stream_bytes: AtomicUsize,
    pub(super) bounds: LogBounds,
    pub(super) store_replay: StoreReplay,
}

impl Broadcaster {
    /// A broadcaster whose ring is empty until [`Self::run`] reads the log. The ring holds `ring_size` messages
    /// at most, and no more than [`RING_BYTES`].
    #[must_use]
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        committed: Arc<Committed>,
        ring_size: usize,
    ) -> Self {
        Self {
            bounds: LogBounds::new(Arc::clone(&bus), Arc::clone(&store), Arc::clone(&committed)),
            store_replay: StoreReplay::new(store),
            bus,
            committed,
            ring_size,
            hub: OnceCell::new(),
            hub_set: Notify::new(),
            open_streams: AtomicUsize::new(0),
            stream_bytes: AtomicUsize::new(0),
        }
    }

    /// Reads the log from its end on, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let follow = async {
            let last = loop {
                match self.bus.identity().await {
                    Ok(identity) => break identity.bounds.last,
                    Err(error) => {
                        tracing::debug!(%error, "live streaming waits for the bus");
                        tokio::time::sleep(FAULT_PAUSE).await;
                    }
                }
            };
            let hub = Arc::new(Hub::new(last, self.ring_size, RING_BYTES));
            let _ = self.hub.set(Arc::clone(&hub));
            self.hub_set.notify_waiters();
            let mut next = last + 1;
            loop {
                let Err(error) = self.follow(&hub, &mut next).await;
                tracing::warn!(%error, "live streaming was interrupted and retries");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        };
        cancel.run_until_cancelled(follow).await;
    }

    async fn follow(&self, hub: &Hub, next: &mut u64) -> Result<Infallible, BusError> {
        let mut reader = self.bus.reader(*next).await?;
        loop {
            hub.push(self.decode(reader.next().await?, next));
            metrics::gauge!("agentbus_ring_head").set(hub.head() as f64);
        }
    }

    /// Decodes the entries at or beyond `next`.
    fn decode(&self, entries: Vec<LogEntry>, next: &mut u64) -> Vec<Arc<Event>> {
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.seq >= *next {
                *next = entry.seq + 1;
                self.committed.record_seen(entry.seq);
                events.push(Event::new(decode(entry, self.bus.log_name())));
            }
        }
        events
    }

    /// The ring, once the end of the log is known.
    pub(super) async fn hub(&self) -> &Arc<Hub> {
        loop {
            let set = self.hub_set.notified();
            if let Some(hub) = self.hub.get() {
                return hub;
            }
            set.await;
        }
    }

    /// The ring, if the end of the log is known.
    pub(super) fn current_hub(&self) -> Option<&Arc<Hub>> {
        self.hub.get()
    }

    /// The newest sequence that this process has read; `None` before the end of the log is known.
    #[must_use]
    pub fn head(&self) -> Option<u64> {
        self.current_hub().map(|hub| hub.head())
    }

    /// Subscriptions open now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::Relaxed)
    }

    /// Bytes that open subscriptions hold for clients that have not taken them yet: at most
    /// [`STREAM_BYTES`](crate::limits::STREAM_BYTES) each. Bytes that several share count for each of them.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        self.stream_bytes.load(Ordering::Relaxed)
    }

    /// Distinct filters of open subscriptions and watches.
    #[must_use]
    pub fn filter_groups(&self) -> usize {
        self.current_hub().map_or(0, |hub| hub.group_count())
    }
}
