//! Switches the log from NATS to the memory bus, on the same store.
//!
//! Invariant: the rest of the stream is stored before the memory bus assigns a sequence, unless the operator
//! abandons the rest. Then the next sequence is higher than any that the stream can contain, and the range in
//! between is recorded as a hole.

use std::sync::Arc;

use uuid::Uuid;

use crate::bus::Bus as _;
use crate::bus::nats::{IfMissing, NatsBus, NatsConfig};
use crate::continuity::{CheckError, drain, skip};
use crate::limits::{ABANDON_JUMP, LEASE};
use crate::store::{BusKind, HoleReason, Lease, Store};

/// Makes the memory bus the bus of the log; returns the lease under which it writes to the store.
///
/// # Errors
/// The reason why the memory bus cannot continue the log, in words for an operator.
pub async fn to_memory(
    store: &Arc<dyn Store>,
    nats: &NatsConfig,
    owner: Uuid,
    abandon_tail: bool,
) -> Result<Lease, String> {
    let state = store.log_state().await.map_err(|e| e.to_string())?;
    // The membership is exclusive, so an earlier holder of the lease has ended or is fenced from now on.
    let mut lease = store
        .claim(owner, LEASE, true)
        .await
        .map_err(|e| e.to_string())?
        .ok_or("the store's lease could not be taken")?;
    if state.bus == Some(BusKind::Nats) {
        match project_rest(nats, &**store, &mut lease).await {
            Ok(()) => {}
            Err(error) if abandon_tail => {
                tracing::warn!(%error, "abandoning what the stream holds and the store lacks");
                let beyond = lease.committed_through + ABANDON_JUMP;
                let skipped = skip(&**store, &mut lease, beyond, HoleReason::Abandoned).await;
                skipped.map_err(|e| e.to_string())?;
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

/// Stores the entries of the stream that are above the watermark.
async fn project_rest(
    nats: &NatsConfig,
    store: &dyn Store,
    lease: &mut Lease,
) -> Result<(), CheckError> {
    let stream = NatsBus::connect_or(nats.clone(), IfMissing::Refuse, &[]).await?;
    let last = stream.identity().await?.bounds.last;
    drain(&stream, store, lease, last).await
}
