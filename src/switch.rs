//! From NATS to the memory bus, on the same store.
//!
//! Invariant: what the stream still holds is projected before the memory bus
//! gives a sequence; or, told to abandon it, sequences go on beyond anything
//! the stream can hold, and the range is a recorded hole.

use std::sync::Arc;

use uuid::Uuid;

use crate::bus::Bus;
use crate::bus::nats::{NatsBus, NatsConfig};
use crate::limits::{ABANDON_JUMP, DRAIN_WAIT, LEASE};
use crate::store::{Batch, BusKind, Hole, HoleReason, Lease, Store, StoreError, Write, write_all};

/// Takes the store over for the memory bus.
///
/// # Errors
/// Why the log cannot go on in memory, in words for an operator.
pub async fn to_memory(
    store: &Arc<dyn Store>,
    nats: &NatsConfig,
    owner: Uuid,
    abandon_tail: bool,
) -> Result<Lease, String> {
    let state = store.log_state().await.map_err(|e| e.to_string())?;
    // The membership is exclusive: whoever held the lease is gone or fenced now.
    let mut lease = store
        .claim(owner, LEASE, true)
        .await
        .map_err(|e| e.to_string())?
        .ok_or("the store's lease could not be taken")?;
    if state.bus == Some(BusKind::Nats) {
        match NatsBus::connect(nats.clone()).await {
            Ok(stream) => drain(&stream, &**store, &mut lease).await?,
            Err(error) if abandon_tail => {
                tracing::warn!(%error, "abandoning what the stream holds and the store lacks");
                abandon(&**store, &mut lease).await.map_err(|e| e.to_string())?;
            }
            Err(error) => {
                return Err(format!(
                    "the log is on NATS, and what its stream still holds must be stored before the memory bus \
                     goes on: {error}. Start NATS (NATS_URL), or leave that behind with --abandon-tail"
                ));
            }
        }
    }
    let set = store.set_log(&lease, BusKind::Memory, state.stream_epoch).await;
    set.map_err(|e| e.to_string())?;
    Ok(lease)
}

/// Stores everything the stream holds beyond the watermark.
async fn drain(bus: &NatsBus, store: &dyn Store, lease: &mut Lease) -> Result<(), String> {
    let last = bus.identity().await.map_err(|e| e.to_string())?.bounds.last;
    let from = lease.committed_through + 1;
    if last < from {
        return Ok(());
    }
    tracing::info!(from, to = last, "storing what the stream still holds");
    let mut reader = bus.reader(from).await.map_err(|e| e.to_string())?;
    while lease.committed_through < last {
        let mut batch = Batch::after(lease.committed_through);
        match tokio::time::timeout(DRAIN_WAIT, reader.next()).await {
            Ok(Ok(entries)) => batch.extend(entries, bus.log_name()),
            Ok(Err(error)) => return Err(error.to_string()),
            // The newest entries were deleted from the stream.
            Err(_) => {
                return skip(store, lease, last, HoleReason::Expired)
                    .await
                    .map_err(|e| e.to_string());
            }
        }
        write_all(store, lease, &batch).await.map_err(|e| e.to_string())?;
        lease.committed_through = batch.through();
    }
    Ok(())
}

/// Moves the watermark beyond anything the stream can hold.
async fn abandon(store: &dyn Store, lease: &mut Lease) -> Result<(), StoreError> {
    let jump = lease.committed_through + ABANDON_JUMP;
    skip(store, lease, jump, HoleReason::Abandoned).await
}

/// Moves the watermark over a hole.
async fn skip(
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
