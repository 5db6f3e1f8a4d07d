//! A copy of the consumers in the store, refreshed regularly.
//!
//! Invariant: while the store answers, the copy is at most [`CONSUMERS_POLL`] old. One query serves all
//! consumers of the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::limits::CONSUMERS_POLL;
use crate::store::Store;
use crate::store::work::Consumer;

/// Consumers by name.
pub(super) type ConsumersByName = BTreeMap<String, Consumer>;

/// The copy of the store's consumers, and the means to refresh it.
pub(super) struct Directory {
    store: Arc<dyn Store>,
    consumers: watch::Sender<ConsumersByName>,
    wake: Notify,
    /// How many reads have begun.
    begun: AtomicU64,
    /// The number of the last read that has ended.
    ended: watch::Sender<u64>,
}

impl Directory {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            consumers: watch::Sender::default(),
            wake: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
        }
    }

    /// The consumers, and notifications of every change.
    pub(super) fn watch(&self) -> watch::Receiver<ConsumersByName> {
        self.consumers.subscribe()
    }

    /// Makes the reader task read now.
    pub(super) fn refresh(&self) {
        self.wake.notify_one();
    }

    /// Makes the reader task read now. Returns when the copy has what was in the store at this call, or after
    /// [`CONSUMERS_POLL`], since the reader may have ended or the store may be slow.
    pub(super) async fn refresh_and_wait(&self) {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        self.refresh();
        let mut ended = self.ended.subscribe();
        let read = ended.wait_for(|ended| *ended >= wanted);
        let _ = tokio::time::timeout(CONSUMERS_POLL, read).await;
    }

    /// Reads the consumers regularly until cancelled.
    pub(super) async fn run(&self, cancel: CancellationToken) {
        let reading = async {
            loop {
                let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
                match self.store.consumers().await {
                    Ok(found) => {
                        let found: ConsumersByName =
                            found.into_iter().map(|one| (one.name.clone(), one)).collect();
                        self.consumers.send_if_modified(|consumers| {
                            let is_changed = *consumers != found;
                            *consumers = found;
                            is_changed
                        });
                    }
                    Err(error) => tracing::debug!(%error, "the consumers could not be read"),
                }
                self.ended.send_replace(number);
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(CONSUMERS_POLL) => {}
                }
            }
        };
        cancel.run_until_cancelled(reading).await;
    }
}
