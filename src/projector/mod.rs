//! Writes the log to the store.
//!
//! Invariant: one projector writes at a time, since its lease fences writes, and every sequence up to the
//! watermark is a row or in a recorded hole. On the memory bus there is no projector: the journal
//! ([`StoreJournal`]) makes the same write.

mod journal;
mod source;

use std::sync::Arc;

use futures_util::future::Either;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broadcast::{Broadcaster, RingReader};
use crate::bus::{Bus, BusError};
use crate::committed::Committed;
use crate::continuity::Gate;
use crate::limits::{
    FAULT_PAUSE, LEASE, LEASE_RENEW, PROJECT_PACE, STANDBY_POLL, STANDBY_POLL_WAITED,
};
use crate::schemas::ForeignQueue;
use crate::store::{Batch, Lease, Store, StoreError, write_all};
pub use journal::StoreJournal;
use source::Source;

/// Writes the entries of the bus to the store, while it has the lease.
pub struct Projector {
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// Decodes the log for the live streams; the projector takes the decoded entries from its ring.
    pub broadcaster: Arc<Broadcaster>,
    /// Closed while it is not certain that the log continues the store.
    pub gate: Gate,
    /// The store to which rows are written.
    pub store: Arc<dyn Store>,
    /// The watermark, raised after each commit.
    pub committed: Arc<Committed>,
    /// Takes the messages of other NATS clients, to compare them with their schemas.
    pub foreign: ForeignQueue,
    /// The id of this process as the owner of the lease.
    pub owner: Uuid,
}

/// Why a term ended. A term is the time for which this process has the lease.
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
    /// Runs until cancelled: on standby while another process has the lease, then as the active
    /// projector.
    pub async fn run(self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            if self.gate.is_log_unverified() {
                pause(&cancel, FAULT_PAUSE).await;
                continue;
            }
            match self.store.claim(self.owner, LEASE, false).await {
                Ok(Some(lease)) => self.serve_term(&lease, &cancel).await,
                Ok(None) => self.stand_by(&cancel).await,
                Err(error) => {
                    tracing::debug!(%error, "the projector cannot claim its lease");
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
                    tracing::debug!(%error, "the lease was not released; it ends by itself");
                }
            }
            TermEnd::Store(StoreError::Fenced) => {
                tracing::warn!(epoch = lease.epoch, "another projector took over");
            }
            fault => {
                metrics::counter!("agentbus_projector_faults_total").increment(1);
                tracing::warn!(error = %fault, "the projector was interrupted; retrying");
                pause(cancel, FAULT_PAUSE).await;
            }
        }
    }

    /// Writes to the store until the term ends; returns the reason.
    async fn project(&self, lease: &Lease, cancel: &CancellationToken) -> TermEnd {
        let mut batch = Batch::after(lease.committed_through);
        let tail = RingReader::new(Arc::clone(&self.broadcaster));
        let mut source = Source::new(&*self.bus, &self.gate, tail);
        let mut next_write = Instant::now();
        loop {
            if let Err(end) = self.wait(lease, &mut batch, &mut source, cancel).await {
                return end;
            }
            self.gather(&mut batch, &mut source, next_write, cancel).await;
            source.fill(&mut batch).await;
            if self.gate.is_log_unverified() {
                return BusError("the stream may be another log".to_owned()).into();
            }
            next_write = Instant::now() + PROJECT_PACE;
            let mut ahead = Batch::after(batch.through());
            let writing = write_all(&*self.store, lease, &batch);
            let written = while_reading(writing, source.read_on(&mut ahead)).await;
            if let Err(error) = written {
                return error.into();
            }
            self.committed.raise(batch.through());
            self.foreign.offer(&batch.records);
            batch = ahead;
        }
    }

    /// Waits until there is something to write, and renews the lease meanwhile.
    async fn wait(
        &self,
        lease: &Lease,
        batch: &mut Batch,
        source: &mut Source<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), TermEnd> {
        while batch.is_empty() {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                read = source.next(batch) => read?,
                () = tokio::time::sleep(LEASE_RENEW) => self.store.renew(lease, LEASE).await?,
            }
        }
        if cancel.is_cancelled() { Err(TermEnd::Cancelled) } else { Ok(()) }
    }

    /// Adds entries to a batch until `until`, unless the batch is full or a task waits for the watermark:
    /// one statement costs as much as dozens of rows.
    async fn gather(
        &self,
        batch: &mut Batch,
        source: &mut Source<'_>,
        until: Instant,
        cancel: &CancellationToken,
    ) {
        if self.committed.has_waiters() {
            return;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = self.committed.waiter_arrived() => {}
            () = tokio::time::sleep_until(until) => {}
            () = source.read_on(batch) => {}
        }
    }

    /// Waits for one poll, and takes over the watermark that another projector has moved.
    async fn stand_by(&self, cancel: &CancellationToken) {
        if let Ok(state) = self.store.log_state().await {
            self.committed.raise(state.committed_through);
        }
        if self.committed.has_waiters() {
            pause(cancel, STANDBY_POLL_WAITED).await;
        } else {
            tokio::select! {
                () = self.committed.waiter_arrived() => {}
                () = pause(cancel, STANDBY_POLL) => {}
            }
        }
    }
}

/// Awaits a write and reads on meanwhile, so that this process decodes while the store writes.
async fn while_reading<T>(
    writing: impl Future<Output = T>,
    reading: impl Future<Output = ()>,
) -> T {
    let (writing, reading) = (std::pin::pin!(writing), std::pin::pin!(reading));
    match futures_util::future::select(writing, reading).await {
        Either::Left((written, _)) => written,
        Either::Right(((), writing)) => writing.await,
    }
}

async fn pause(cancel: &CancellationToken, time: std::time::Duration) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_read_while_a_batch_is_written_is_kept() {
        let (begun, mut read) = (Instant::now(), 0);
        let reading = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                read += 1;
            }
        };
        let writing = async {
            tokio::time::sleep(Duration::from_micros(3_500)).await;
            "written"
        };
        assert_eq!(while_reading(writing, reading).await, "written");
        assert_eq!(read, 3);
        assert!(begun.elapsed() < Duration::from_millis(5), "only the write takes time");
    }

    #[tokio::test(start_paused = true)]
    async fn reading_that_ends_does_not_cut_a_write_short() {
        let begun = Instant::now();
        let writing = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            "written"
        };
        assert_eq!(while_reading(writing, std::future::ready(())).await, "written");
        assert_eq!(begun.elapsed().as_millis(), 20);
    }
}
