//! The consumers as the store knows them, looked at again and again.
//!
//! Invariant: what is shown was in the store at most [`CONSUMERS_POLL`] ago, or the
//! store is away. One question serves all consumers of the process.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::limits::CONSUMERS_POLL;
use crate::store::Store;
use crate::store::work::Consumer;

/// By name.
pub(super) type Known = BTreeMap<String, Consumer>;

/// Shows the consumers.
pub(super) struct Directory {
    store: Arc<dyn Store>,
    known: watch::Sender<Known>,
    asked: Notify,
}

impl Directory {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: watch::Sender::default(), asked: Notify::new() }
    }

    /// The consumers, and every change of them.
    pub(super) fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Asks for a look now.
    pub(super) fn look(&self) {
        self.asked.notify_one();
    }

    /// Looks until cancelled.
    pub(super) async fn run(&self, cancel: CancellationToken) {
        let looking = async {
            loop {
                match self.store.consumers().await {
                    Ok(found) => {
                        let found: Known =
                            found.into_iter().map(|one| (one.name.clone(), one)).collect();
                        self.known.send_if_modified(|known| {
                            let news = *known != found;
                            *known = found;
                            news
                        });
                    }
                    Err(error) => tracing::debug!(%error, "the consumers could not be looked at"),
                }
                tokio::select! {
                    () = self.asked.notified() => {}
                    () = tokio::time::sleep(CONSUMERS_POLL) => {}
                }
            }
        };
        cancel.run_until_cancelled(looking).await;
    }
}
