//! The consumers as the store knows them, looked at again and again.
//!
//! Invariant: what is shown was in the store at most [`CONSUMERS_POLL`] ago, or the
//! store is away. One question serves all consumers of the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::limits::CONSUMERS_POLL;
use crate::store::Store;
use crate::store::work::Consumer;

/// By name.
pub(super) type ConsumersByName = BTreeMap<String, Consumer>;

/// Shows the consumers.
pub(super) struct Directory {
    store: Arc<dyn Store>,
    known: watch::Sender<ConsumersByName>,
    asked: Notify,
    /// Looks begun.
    begun: AtomicU64,
    /// The last look that has ended.
    ended: watch::Sender<u64>,
}

impl Directory {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: watch::Sender::default(),
            asked: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
        }
    }

    /// The consumers, and every change of them.
    pub(super) fn watch(&self) -> watch::Receiver<ConsumersByName> {
        self.known.subscribe()
    }

    /// Asks for a look now.
    pub(super) fn look(&self) {
        self.asked.notify_one();
    }

    /// Looks now, and returns when what was in the store at this call is shown; or after
    /// [`CONSUMERS_POLL`], when nobody looks or the store is slow.
    pub(super) async fn look_and_wait(&self) {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        self.look();
        let mut ended = self.ended.subscribe();
        let shown = ended.wait_for(|look| *look >= wanted);
        let _ = tokio::time::timeout(CONSUMERS_POLL, shown).await;
    }

    /// Looks until cancelled.
    pub(super) async fn run(&self, cancel: CancellationToken) {
        let looking = async {
            loop {
                let look = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
                match self.store.consumers().await {
                    Ok(found) => {
                        let found: ConsumersByName =
                            found.into_iter().map(|one| (one.name.clone(), one)).collect();
                        self.known.send_if_modified(|known| {
                            let news = *known != found;
                            *known = found;
                            news
                        });
                    }
                    Err(error) => tracing::debug!(%error, "the consumers could not be looked at"),
                }
                self.ended.send_replace(look);
                tokio::select! {
                    () = self.asked.notified() => {}
                    () = tokio::time::sleep(CONSUMERS_POLL) => {}
                }
            }
        };
        cancel.run_until_cancelled(looking).await;
    }
}
