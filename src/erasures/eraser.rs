//! Finishes erasures, and erases again what turns up in the stream: after a restore, or in a mirror that took over.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::snapshot::ErasedSnapshot;
use crate::bus::{Bus, BusError};
use crate::continuity::Gate;
use crate::limits::{ERASE_AT_ONCE, ERASE_PAGE, ERASE_POLL};
use crate::store::{Erasure, Store, StoreError};

/// Why an erasure is not finished. It is tried again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EraseError {
    /// The log may be another one, or is being repaired.
    #[error("{0}")]
    Closed(String),
    /// The bus does not answer, or refuses.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Erases messages in the log and in the store.
pub struct Eraser {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    gate: Gate,
    snapshot: Arc<ErasedSnapshot>,
}

impl Eraser {
    /// An eraser of one log.
    #[must_use]
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        gate: Gate,
        snapshot: Arc<ErasedSnapshot>,
    ) -> Self {
        Self { bus, store, gate, snapshot }
    }

    /// Whether erasures can be finished now, as far as that is known without a request.
    ///
    /// # Errors
    /// The reason why not.
    pub fn ready(&self) -> Result<(), EraseError> {
        self.gate.check().map_err(EraseError::Closed)?;
        self.bus.health().map_err(|reason| BusError(reason).into())
    }

    /// Finishes recorded erasures. When this returns, stream and store have nothing of the messages any more, and neither
    /// has the memory of this process.
    ///
    /// # Errors
    /// What stopped it. A call of [`Self::run`] on any server goes on.
    pub async fn finish(&self, erasures: &[Erasure]) -> Result<(), EraseError> {
        // A repair of the stream writes rows back that it read before; so none may run meanwhile.
        let times_closed = self.gate.times_closed();
        self.ready()?;
        for erasure in erasures {
            self.bus.erase(erasure.seq, erasure.id, &erasure.body).await?;
            if self.gate.times_closed() != times_closed {
                return Err(EraseError::Closed("the log is being checked".to_owned()));
            }
            self.store.finish_erasure(erasure.seq).await?;
        }
        self.snapshot.load().await?;
        // A stream that was restored meanwhile may have it again, and `run` may have looked before this was finished.
        if self.gate.times_closed() != times_closed {
            for erasure in erasures {
                self.bus.erase(erasure.seq, erasure.id, &erasure.body).await?;
            }
        }
        Ok(())
    }

    /// Finishes the erasures that any server has begun, and looks at the stream again after each check of its
    /// continuity, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let (mut swept, mut reported) = (None, String::new());
        while let Some(done) = cancel.run_until_cancelled(self.look(&mut swept)).await {
            let reason = done.err().map_or_else(String::new, |error| error.to_string());
            if reason != reported && !reason.is_empty() {
                tracing::warn!(reason, "erasures cannot be finished now; they are tried again");
            }
            reported = reason;
            cancel.run_until_cancelled(tokio::time::sleep(ERASE_POLL)).await;
        }
    }

    async fn look(&self, swept: &mut Option<u64>) -> Result<(), EraseError> {
        let pending = self.store.count_pending_erasures().await?;
        metrics::gauge!("agentbus_erasures_pending").set(pending as f64);
        if pending > 0 {
            self.finish_all().await?;
            metrics::gauge!("agentbus_erasures_pending").set(0.0);
        }
        let times_closed = self.gate.times_closed();
        if *swept != Some(times_closed) && self.ready().is_ok() {
            self.sweep().await?;
            *swept = Some(times_closed);
        }
        Ok(())
    }

    async fn finish_all(&self) -> Result<(), EraseError> {
        let mut from = 0;
        loop {
            let pending = self.store.pending_erasures(from, ERASE_PAGE).await?;
            let Some(last) = pending.last() else { return Ok(()) };
            from = last.seq + 1;
            self.finish(&pending).await?;
            tracing::info!(messages = pending.len(), "finished erasures that were begun before");
        }
    }

    /// Erases in the log again what it holds of erased messages.
    async fn sweep(&self) -> Result<(), EraseError> {
        let mut from = self.bus.identity().await?.bounds.first;
        loop {
            let page = self.store.erasures(from, ERASE_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            from = last.seq + 1;
            let again = page.into_iter().filter(|erasure| erasure.is_done).map(|it| {
                let bus = Arc::clone(&self.bus);
                async move { bus.erase(it.seq, it.id, &it.body).await }
            });
            stream::iter(again).buffer_unordered(ERASE_AT_ONCE).try_collect::<()>().await?;
        }
    }
}
