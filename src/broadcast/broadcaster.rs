//! Reads the log into the ring (the newest events, in memory), and serves subscriptions from it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use super::bounds::LogBounds;
use super::delivery::Delivery;
use super::event::Event;
use super::hub::Hub;
use super::store_replay::StoreReplay;
use crate::bus::{Bus, BusError};
use crate::committed::Committed;
use crate::erased::Erased;
use crate::limits::{FAULT_PAUSE, RING_BYTES};
use crate::message::{LogEntry, decode};
use crate::store::Store;

/// Reads the log into the ring, and serves subscriptions.
pub struct Broadcaster {
    pub(super) bus: Arc<dyn Bus>,
    committed: Arc<Committed>,
    pub(super) erased: Arc<Erased>,
    ring_size: usize,
    /// Set once the end of the log is known, where the ring begins.
    hub: OnceCell<Arc<Hub>>,
    hub_set: Notify,
    pub(super) open_streams: AtomicUsize,
    pub(super) stream_bytes: AtomicUsize,
    /// Streams that read the store or the bus, since the ring begins too late for them.
    pub(super) replaying: AtomicUsize,
    pub(super) delivery: Delivery,
    pub(super) bounds: LogBounds,
    pub(super) store_replay: StoreReplay,
}

impl Broadcaster {
    /// A broadcaster with an empty ring; [`Self::run`] fills it. The ring holds at most `ring_size` messages
    /// and at most [`RING_BYTES`].
    #[must_use]
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        committed: Arc<Committed>,
        erased: Arc<Erased>,
        ring_size: usize,
    ) -> Self {
        Self {
            bounds: LogBounds::new(Arc::clone(&bus), Arc::clone(&store), Arc::clone(&committed)),
            store_replay: StoreReplay::new(store, Arc::clone(&erased)),
            bus,
            committed,
            erased,
            ring_size,
            hub: OnceCell::new(),
            hub_set: Notify::new(),
            open_streams: AtomicUsize::new(0),
            stream_bytes: AtomicUsize::new(0),
            replaying: AtomicUsize::new(0),
            delivery: Delivery::default(),
        }
    }

    /// Reads the log into the ring, beginning at the end of the log, until cancelled.
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
            hub.push(self.decode(reader.next().await?, next), |event| self.shown(event));
            metrics::gauge!("agentbus_ring_head").set(hub.head() as f64);
        }
    }

    /// Decodes the entries from sequence `next` on, and moves `next` past them.
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

    fn shown(&self, event: Arc<Event>) -> Arc<Event> {
        match self.erased.contains(event.seq()) {
            true => Event::new(event.record.clone().erased()),
            false => event,
        }
    }

    /// Drops what is in memory of messages that are erased and known to [`Erased`].
    pub fn forget(&self, seqs: &[u64]) {
        if let Some(hub) = self.current_hub() {
            hub.erase(seqs);
        }
        self.store_replay.forget();
    }

    /// The hub, which holds the ring. Waits until the end of the log is known.
    pub(super) async fn hub(&self) -> &Arc<Hub> {
        loop {
            let set = self.hub_set.notified();
            if let Some(hub) = self.hub.get() {
                return hub;
            }
            set.await;
        }
    }

    /// The hub; `None` before the end of the log is known.
    pub(super) fn current_hub(&self) -> Option<&Arc<Hub>> {
        self.hub.get()
    }

    /// The newest sequence that this process has read from the log; `None` before the end of the log is
    /// known.
    #[must_use]
    pub fn head(&self) -> Option<u64> {
        self.current_hub().map(|hub| hub.head())
    }

    /// How many subscriptions are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::Relaxed)
    }

    /// Bytes in memory that clients of open subscriptions have not taken yet: at most
    /// [`STREAM_BYTES`](crate::limits::STREAM_BYTES) each. Bytes that several subscriptions share are counted
    /// for each.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        self.stream_bytes.load(Ordering::Relaxed)
    }

    /// How many open subscriptions are behind the ring.
    #[must_use]
    pub fn replaying(&self) -> usize {
        self.replaying.load(Ordering::Relaxed)
    }

    /// How many different filters open subscriptions and watches have.
    #[must_use]
    pub fn filter_groups(&self) -> usize {
        self.current_hub().map_or(0, |hub| hub.group_count())
    }
}
