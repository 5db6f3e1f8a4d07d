//! Recreates the whole stream from the store, for `agentbus rebuild`.
//!
//! Invariant: nothing is deleted before the store has it. A process that dies in between leaves a stream that
//! the next start or rebuild fills. No server may run meanwhile, which the caller ensures by an exclusive
//! membership of the store.

use uuid::Uuid;

use super::content;
use super::error::CheckError;
use super::stranded::{drain, skip, store_under_new_sequences};
use super::write_back::write_back;
use crate::bus::nats::NatsBus;
use crate::bus::{Bus as _, LogIdentity};
use crate::limits::{ABANDON_JUMP, LEASE};
use crate::store::{BusKind, HoleReason, Store};

/// Deletes the stream, creates it with the same configuration, and writes the newest rows that its limits
/// allow, under the sequences of the store. First stores what only the old stream had. Calls `progress` with
/// the last sequence written and the last to write.
///
/// With `take_over`, bus and store are the copies at a second site, and the first site is lost. It may have
/// acknowledged messages that neither copy has. So the next sequence is [`ABANDON_JUMP`] higher, and the range
/// in between is recorded as a hole: no sequence that the first site assigned gets other content. Returns also
/// the last sequence that is in the log of the first site.
///
/// # Errors
/// Bus or store does not answer.
pub async fn rebuild(
    bus: &NatsBus,
    store: &dyn Store,
    owner: Uuid,
    take_over: bool,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(LogIdentity, u64), CheckError> {
    let mut lease = store.claim(owner, LEASE, true).await?.ok_or(CheckError::Busy)?;
    let found = bus.identity().await?;
    let committed = lease.committed_through;
    if !found.write_back_pending {
        match content::first_difference(bus, store, found.bounds, committed).await? {
            Some(from) => {
                store_under_new_sequences(bus, store, &mut lease, from, found.bounds.last).await?
            }
            None => drain(bus, store, &mut lease, found.bounds.last).await?,
        }
    }
    let through = through_before_jump(store, lease.committed_through).await?;
    if take_over {
        let to = lease.committed_through + ABANDON_JUMP;
        skip(store, &mut lease, to, HoleReason::Abandoned).await?;
    }
    bus.recreate().await?;
    let recreated = write_back(bus, store, &lease, 0, progress).await?;
    store.set_log(&lease, BusKind::Nats, recreated.epoch).await?;
    store.release(&lease).await?;
    Ok((recreated, through))
}

/// The last sequence before the jumps of take-overs after which nothing was published, such as one that was interrupted.
/// A repeated one jumps again: what the first may have assigned meanwhile cannot be told.
async fn through_before_jump(store: &dyn Store, mut through: u64) -> Result<u64, CheckError> {
    while let Some(hole) = store.holes(through, through, 1).await?.pop()
        && hole.reason == HoleReason::Abandoned
        && hole.to == through
    {
        through = hole.from - 1;
    }
    Ok(through)
}
