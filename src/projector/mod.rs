//! From the log to the store.
//!
//! Invariant: one projector writes at a time, by a lease that fences, and every
//! sequence up to the watermark is either a row or inside a recorded hole. On
//! the memory bus the same write is the journal ([`StoreJournal`]), so there is
//! nothing to project.

mod journal;

use std::sync::Arc;

use futures_util::future::Either;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::{Bus, BusError, Reader};
use crate::committed::Committed;
use crate::limits::{
    FAULT_PAUSE, LEASE, LEASE_RENEW, PROJECT_PACE, STANDBY_POLL, STANDBY_POLL_WAITED,
};
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
        let mut batch = Batch::after(lease.committed_through);
        let mut reader = match self.bus.reader(batch.through() + 1).await {
            Ok(reader) => reader,
            Err(error) => return error.into(),
        };
        let mut pace = Instant::now();
        loop {
            if let Err(end) = self.wait(lease, &mut batch, &mut *reader, cancel).await {
                return end;
            }
            fill(&mut batch, &mut *reader, self.bus.log_name()).await;
            self.gather(&mut batch, &mut *reader, pace, cancel).await;
            pace = Instant::now() + PROJECT_PACE;
            let mut ahead = Batch::after(batch.through());
            let written = {
                let writing = write_all(&*self.store, lease, &batch);
                let reading = read_ahead(&mut ahead, &mut *reader, self.bus.log_name());
                while_reading(writing, reading).await
            };
            if let Err(error) = written {
                return error.into();
            }
            self.committed.raise(batch.through());
            batch = ahead;
        }
    }

    /// Waits until there is something to write, and keeps the lease meanwhile.
    async fn wait(
        &self,
        lease: &Lease,
        batch: &mut Batch,
        reader: &mut dyn Reader,
        cancel: &CancellationToken,
    ) -> Result<(), TermEnd> {
        while batch.is_empty() {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                entries = reader.next() => batch.extend(entries?, self.bus.log_name()),
                () = tokio::time::sleep(LEASE_RENEW) => self.store.renew(lease, LEASE).await?,
            }
        }
        if cancel.is_cancelled() { Err(TermEnd::Cancelled) } else { Ok(()) }
    }

    /// Takes more into a batch until a time, unless it is full or somebody waits for it:
    /// a statement costs as much as dozens of rows, and the others need that time too.
    async fn gather(
        &self,
        batch: &mut Batch,
        reader: &mut dyn Reader,
        until: Instant,
        cancel: &CancellationToken,
    ) {
        if self.committed.is_awaited() {
            return;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = self.committed.awaited() => {}
            () = tokio::time::sleep_until(until) => {}
            () = read_ahead(batch, reader, self.bus.log_name()) => {}
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

/// Reads on into the next batch, until it is full or something is wrong, which shows
/// again at the next call. Dropped at any time, it loses nothing.
async fn read_ahead(batch: &mut Batch, reader: &mut dyn Reader, log_name: &str) {
    while batch.has_room() {
        match reader.next().await {
            Ok(entries) => batch.extend(entries, log_name),
            Err(_) => return,
        }
    }
}

/// Runs a write to its end, and reads on meanwhile: the store is busy with the one
/// while this process decodes the other.
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

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::limits::PROJECT_ROWS;
    use crate::message::{Raw, Subject};

    /// Hands out a hundred entries each millisecond, for ever or up to an error.
    struct Steady {
        next: u64,
        error_at: Option<u64>,
    }

    #[async_trait]
    impl Reader for Steady {
        async fn next(&mut self) -> Result<Vec<Raw>, BusError> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.error_at == Some(self.next) {
                return Err(BusError("broken".to_owned()));
            }
            let first = self.next;
            self.next += 100;
            Ok((first..self.next).map(raw).collect())
        }
    }

    fn raw(seq: u64) -> Raw {
        Raw {
            seq,
            subject: Subject::from_log("agent.status.a.b".to_owned()),
            headers: Vec::new(),
            payload: Bytes::from_static(b"x"),
            logged_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    /// What a write of so many milliseconds leaves in the next batch.
    async fn ahead_after(millis: u64, reader: &mut Steady) -> Batch {
        let begun = Instant::now();
        let mut ahead = Batch::after(reader.next - 1);
        let writing = async {
            tokio::time::sleep(Duration::from_micros(millis * 1_000 + 500)).await;
            "written"
        };
        let reading = read_ahead(&mut ahead, reader, "log");
        assert_eq!(while_reading(writing, reading).await, "written");
        assert!(begun.elapsed().as_millis() <= u128::from(millis) + 2, "the write alone tells");
        ahead
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_read_while_another_is_written() {
        let mut reader = Steady { next: 1, error_at: None };
        let first = ahead_after(3, &mut reader).await;
        assert_eq!((first.records.len(), first.through()), (300, 300));
        let full = ahead_after(1_000, &mut reader).await;
        assert_eq!((full.records.len(), full.through()), (PROJECT_ROWS, 300 + 2_000));
        let next = ahead_after(1, &mut reader).await;
        assert_eq!((next.records[0].seq, next.holes.len()), (2_301, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_of_the_reader_does_not_cut_a_write_short() {
        let mut reader = Steady { next: 1, error_at: Some(201) };
        let ahead = ahead_after(20, &mut reader).await;
        assert_eq!((ahead.through(), ahead.has_room()), (200, true));
    }
}
