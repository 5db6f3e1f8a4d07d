//! From the log to the store.
//!
//! Invariant: one projector writes at a time, by a lease that fences, and every
//! sequence up to the watermark is either a row or inside a recorded hole. On
//! the memory bus the same write is the journal ([`StoreJournal`]), so there is
//! nothing to project.

mod journal;

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::{Bus, BusError, Reader};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, LEASE, LEASE_RENEW, STANDBY_POLL, STANDBY_POLL_WAITED};
use crate::store::{Batch, Lease, Store, StoreError, write_all};
pub use journal::StoreJournal;

/// Moves what the bus has into the store, while it holds the lease.
pub struct Projector {
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// Where it goes.
    pub store: Arc<dyn Store>,
    /// Raised after each commit.
    pub committed: Arc<Committed>,
    /// This process, as the lease's owner.
    pub owner: Uuid,
}

/// Why a term as the active projector ended.
#[derive(Debug, thiserror::Error)]
enum TermEnd {
    #[error("stopping")]
    Cancelled,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Projector {
    /// Runs until cancelled: standby until the lease is free, then active.
    pub async fn run(self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            match self.store.claim(self.owner, LEASE, false).await {
                Ok(Some(lease)) => self.serve_term(&lease, &cancel).await,
                Ok(None) => self.stand_by(&cancel).await,
                Err(error) => {
                    tracing::debug!(%error, "the projector cannot ask for its lease");
                    pause(&cancel, FAULT_PAUSE).await;
                }
            }
        }
    }

    async fn serve_term(&self, lease: &Lease, cancel: &CancellationToken) {
        tracing::info!(epoch = lease.epoch, from = lease.committed_through + 1, "projecting");
        metrics::gauge!("agentbus_projector_active").set(1.0);
        self.committed.raise(lease.committed_through);
        let end = self.project(lease, cancel).await;
        metrics::gauge!("agentbus_projector_active").set(0.0);
        match end {
            TermEnd::Cancelled => {
                if let Err(error) = self.store.release(lease).await {
                    tracing::debug!(%error, "the lease was not given back and runs out by itself");
                }
            }
            TermEnd::Store(StoreError::Fenced) => {
                tracing::warn!(epoch = lease.epoch, "another projector took over");
            }
            fault => {
                metrics::counter!("agentbus_projector_faults_total").increment(1);
                tracing::warn!(error = %fault, "projecting was interrupted and goes on");
                pause(cancel, FAULT_PAUSE).await;
            }
        }
    }

    /// Projects until something ends it; returns what.
    async fn project(&self, lease: &Lease, cancel: &CancellationToken) -> TermEnd {
        let mut through = lease.committed_through;
        let mut reader = match self.bus.reader(through + 1).await {
            Ok(reader) => reader,
            Err(error) => return error.into(),
        };
        let mut renew_at = Instant::now() + LEASE_RENEW;
        loop {
            let mut batch = Batch::after(through);
            tokio::select! {
                biased;
                () = cancel.cancelled() => return TermEnd::Cancelled,
                entries = reader.next() => match entries {
                    Ok(entries) => batch.extend(entries, self.bus.log_name()),
                    Err(error) => return error.into(),
                },
                () = tokio::time::sleep_until(renew_at) => {
                    if let Err(error) = self.store.renew(lease, LEASE).await {
                        return error.into();
                    }
                    renew_at = Instant::now() + LEASE_RENEW;
                    continue;
                }
            }
            fill(&mut batch, &mut *reader, self.bus.log_name()).await;
            if let Err(error) = write_all(&*self.store, lease, &batch).await {
                return error.into();
            }
            through = batch.through();
            self.committed.raise(through);
            renew_at = Instant::now() + LEASE_RENEW;
        }
    }

    /// Follows the watermark that another projector moves, for one poll.
    async fn stand_by(&self, cancel: &CancellationToken) {
        if let Ok(state) = self.store.log_state().await {
            self.committed.raise(state.committed_through);
        }
        if self.committed.is_awaited() {
            pause(cancel, STANDBY_POLL_WAITED).await;
        } else {
            tokio::select! {
                () = self.committed.awaited() => {}
                () = pause(cancel, STANDBY_POLL) => {}
            }
        }
    }
}

/// Takes along what is ready, without waiting for more.
async fn fill(batch: &mut Batch, reader: &mut dyn Reader, log_name: &str) {
    while batch.has_room() {
        match futures_util::FutureExt::now_or_never(reader.next()) {
            Some(Ok(entries)) => batch.extend(entries, log_name),
            // An error shows again at the next call, which waits.
            Some(Err(_)) | None => return,
        }
        tokio::task::yield_now().await;
    }
}

async fn pause(cancel: &CancellationToken, time: std::time::Duration) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}
