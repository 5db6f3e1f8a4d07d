//! Holds the bus against the store; the gate before publishing.
//!
//! Invariant: no sequence that the store has is given to other content. While
//! that is in doubt (at start, after every reconnect, after an ack at or below
//! the known mark) nothing is published.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::nats::NatsBus;
use crate::bus::{Bounds, Bus, BusError};
use crate::committed::Committed;
use crate::limits::{DRAIN_WAIT, FAULT_PAUSE, LEASE};
use crate::message::{Raw, Record, decode};
use crate::store::{
    Batch, BusKind, Hole, HoleReason, Lease, Original, Store, StoreError, Write, write_all,
};

/// Whether publishing is allowed. Cheap to clone, shared by all who ask.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    closed: watch::Sender<Option<String>>,
    doubted: Notify,
}

impl Gate {
    /// A gate that is closed for `reason` until it is opened.
    #[must_use]
    pub fn closed(reason: &str) -> Self {
        Self(Arc::new(Inner {
            closed: watch::Sender::new(Some(reason.to_owned())),
            doubted: Notify::new(),
        }))
    }

    /// A gate of a log that cannot part from its store: the memory bus's.
    #[must_use]
    pub fn open() -> Self {
        let gate = Self::closed("");
        gate.0.closed.send_replace(None);
        gate
    }

    /// `Err` with the reason while publishing must wait.
    ///
    /// # Errors
    /// The reason, in words for an operator.
    pub fn check(&self) -> Result<(), String> {
        match &*self.0.closed.borrow() {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Waits until publishing is allowed for the first time.
    pub async fn opened(&self) {
        // The sender lives in the gate itself, so this ends by the value alone.
        let _ = self.0.closed.subscribe().wait_for(Option::is_none).await;
    }

    /// Closes the gate and asks for a new check.
    pub fn doubt(&self) {
        self.close("the log's continuity is being checked");
        self.0.doubted.notify_one();
    }

    fn close(&self, reason: &str) {
        self.0.closed.send_replace(Some(reason.to_owned()));
    }
}

/// Checks the stream against the store and opens or closes the gate.
pub struct Continuity {
    /// The stream.
    pub bus: Arc<NatsBus>,
    /// What was committed of it.
    pub store: Arc<dyn Store>,
    /// What this process knows to be committed.
    pub committed: Arc<Committed>,
    /// Opened by a check that found nothing wrong.
    pub gate: Gate,
    /// This process, as the owner of the store's lease.
    pub owner: Uuid,
}

/// Why a check did not open the gate.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The bus cannot be asked; asked again.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store cannot be asked; asked again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another server mends the stream; asked again.
    #[error("another server is bringing the stream up to the store")]
    Busy,
    /// The stream and the store disagree about a committed sequence.
    #[error(
        "the stream holds other content than the store at sequence {0}: publishing is stopped. \
         Restore the stream that the store was filled from, or start a new stream (NATS_STREAM_NAME)"
    )]
    OtherContent(u64),
}

impl Continuity {
    /// Checks now, and whenever the gate is doubted or the connection to NATS
    /// was made anew, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut reconnects = self.bus.reconnects();
        let watch = async {
            loop {
                self.check_until_settled().await;
                tokio::select! {
                    () = self.gate.0.doubted.notified() => {}
                    changed = reconnects.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        self.gate.close("the log's continuity is being checked");
                    }
                }
            }
        };
        cancel.run_until_cancelled(watch).await;
    }

    /// Checks until the gate is open or a person must mend the stream.
    async fn check_until_settled(&self) {
        let mut told = String::new();
        loop {
            let error = match self.check().await {
                Ok(()) => {
                    tracing::info!("the stream continues the store: publishing is open");
                    self.gate.0.closed.send_replace(None);
                    return;
                }
                Err(error) => error,
            };
            let reason = error.to_string();
            if reason != told {
                tracing::warn!(%error, "publishing waits for the continuity check");
                self.gate.close(&reason);
                told = reason;
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    async fn check(&self) -> Result<(), CheckError> {
        // Asked before the stream, which must be at least that far.
        let seen = self.committed.seen();
        let identity = self.bus.identity().await?;
        let state = match self.store.log_state().await {
            Ok(state) => state,
            // A running server goes on while the store is away, on what it knows.
            Err(_) if seen > 0 && identity.bounds.last >= seen => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.committed.raise(state.committed_through);
        if state.bus == Some(BusKind::Memory)
            || identity.bounds.last < seen.max(state.committed_through)
        {
            self.bring_up(seen).await?;
        } else {
            same_content(&*self.bus, &*self.store, state.committed_through).await?;
        }
        if state.bus != Some(BusKind::Nats) || state.stream_epoch != identity.epoch {
            let lease =
                self.store.claim(self.owner, LEASE, false).await?.ok_or(CheckError::Busy)?;
            self.store.set_log(&lease, BusKind::Nats, identity.epoch).await?;
        }
        Ok(())
    }

    /// Brings a stream that parted from the store (another bus went on, or the
    /// stream lost its tail) to where its next sequence is new. What only the
    /// stream holds is stored first.
    async fn bring_up(&self, seen: u64) -> Result<(), CheckError> {
        let claimed = self.store.claim(self.owner, LEASE, false).await?;
        let mut lease = claimed.ok_or(CheckError::Busy)?;
        let bounds = self.bus.identity().await?.bounds;
        let parted = self.parting(bounds, lease.committed_through).await?;
        match parted {
            Some(from) => self.keep_stranded(from, bounds.last, &mut lease).await?,
            None => drain(&*self.bus, &*self.store, &mut lease, bounds.last).await?,
        }
        self.committed.raise(lease.committed_through);
        let next = lease.committed_through.max(seen).max(bounds.last) + 1;
        if parted.is_some() || bounds.last + 1 < next {
            tracing::info!(next, "moving the stream's sequence on to where the store is");
            self.bus.purge_to(next, true).await?;
        }
        Ok(())
    }

    /// The first committed sequence at which the stream holds something else
    /// than the store. Two logs part once: up to there they agree.
    async fn parting(&self, bounds: Bounds, committed: u64) -> Result<Option<u64>, CheckError> {
        let (mut agreed, mut parted) = (bounds.first, bounds.last.min(committed) + 1);
        let end = parted;
        while agreed < parted {
            let middle = agreed + (parted - agreed) / 2;
            if self.agree_at(middle).await? {
                agreed = middle + 1;
            } else {
                parted = middle;
            }
        }
        Ok((parted < end).then_some(parted))
    }

    /// Whether nothing in the stream at this sequence is missing in the store.
    async fn agree_at(&self, seq: u64) -> Result<bool, CheckError> {
        let Some(raw) = self.bus.get(seq).await? else { return Ok(true) };
        Ok(self.store.original(seq).await?.is_some_and(|row| is_same(&raw, &row)))
    }

    /// Stores what the stream holds from `from` on and the store does not, under
    /// new sequences and the same ids: left behind by `--abandon-tail`, published
    /// while the log was on the memory bus, or into a stream that was made anew.
    async fn keep_stranded(
        &self,
        from: u64,
        last: u64,
        lease: &mut Lease,
    ) -> Result<(), CheckError> {
        let mut reader = self.bus.reader(from).await?;
        let mut next = from;
        while next <= last {
            let Ok(entries) = tokio::time::timeout(DRAIN_WAIT, reader.next()).await else { break };
            let entries = entries?;
            next = entries.last().map_or(next, |raw| raw.seq) + 1;
            let found: Vec<Record> =
                entries.into_iter().map(|raw| decode(raw, self.bus.log_name())).collect();
            let ids: Vec<Uuid> = found.iter().map(|record| record.id).collect();
            let known = self.store.find(&ids).await?;
            let mut batch = Batch::after(lease.committed_through);
            for record in found.into_iter().filter(|record| !known.contains_key(&record.id)) {
                batch.append(record);
            }
            if !batch.records.is_empty() {
                tracing::info!(
                    messages = batch.records.len(),
                    "storing again what was stranded in the stream"
                );
                write_all(&*self.store, lease, &batch).await?;
                lease.committed_through = batch.through();
            }
        }
        Ok(())
    }
}

/// Stores what the bus holds beyond the watermark, up to `last`, under the
/// sequences it has there.
///
/// # Errors
/// That bus or store cannot be asked.
pub async fn drain(
    bus: &dyn Bus,
    store: &dyn Store,
    lease: &mut Lease,
    last: u64,
) -> Result<(), CheckError> {
    if last <= lease.committed_through {
        return Ok(());
    }
    tracing::info!(
        from = lease.committed_through + 1,
        to = last,
        "storing what the stream still holds"
    );
    let mut reader = bus.reader(lease.committed_through + 1).await?;
    while lease.committed_through < last {
        let mut batch = Batch::after(lease.committed_through);
        match tokio::time::timeout(DRAIN_WAIT, reader.next()).await {
            Ok(entries) => batch.extend(entries?, bus.log_name()),
            // The newest entries were deleted from the stream.
            Err(_) => return Ok(skip(store, lease, last, HoleReason::Expired).await?),
        }
        write_all(store, lease, &batch).await?;
        lease.committed_through = batch.through();
    }
    Ok(())
}

/// Moves the watermark over a hole.
///
/// # Errors
/// The store's.
pub async fn skip(
    store: &dyn Store,
    lease: &mut Lease,
    to: u64,
    reason: HoleReason,
) -> Result<(), StoreError> {
    let hole = Hole { from: lease.committed_through + 1, to, reason };
    let write = Write {
        old_through: lease.committed_through,
        new_through: to,
        records: &[],
        holes: &[hole],
        bare: false,
        lease_for: LEASE,
    };
    store.write(lease, write).await?;
    lease.committed_through = to;
    Ok(())
}

/// Whether a row was made of this entry.
fn is_same(raw: &Raw, row: &Original) -> bool {
    match &row.foreign {
        Some((payload, _)) => raw.payload == *payload,
        None => raw.payload == row.stored.body,
    }
}

/// Holds the content at the store's highest sequence against the bus's, where
/// both have it.
///
/// # Errors
/// [`CheckError::OtherContent`] when they differ, or that one cannot be asked.
pub async fn same_content(
    bus: &dyn Bus,
    store: &dyn Store,
    committed: u64,
) -> Result<(), CheckError> {
    if committed == 0 {
        return Ok(());
    }
    let (Some(raw), Some(row)) = (bus.get(committed).await?, store.original(committed).await?)
    else {
        return Ok(());
    };
    if is_same(&raw, &row) { Ok(()) } else { Err(CheckError::OtherContent(committed)) }
}
