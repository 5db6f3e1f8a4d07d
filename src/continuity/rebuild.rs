//! The whole stream anew, from the store, on demand.
//!
//! Invariant: nothing is deleted before the store has it, and whoever dies in between
//! leaves a stream that the next start (or the next rebuild) fills up. Meant to be run
//! while no server is: the caller holds the store's membership alone.

use uuid::Uuid;

use super::stranded::keep_stranded;
use super::{CheckError, content, drain, write_back};
use crate::bus::LogIdentity;
use crate::bus::nats::NatsBus;
use crate::limits::LEASE;
use crate::store::{BusKind, Store};

/// Makes the stream anew with its own configuration and writes into it what its limits allow, under
/// the sequences of the store. What only the stream held is stored first. `progress` is told
/// how far it is, and how far it goes.
///
/// # Errors
/// That bus or store cannot be asked.
pub async fn rebuild(
    bus: &NatsBus,
    store: &dyn Store,
    owner: Uuid,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<LogIdentity, CheckError> {
    let mut lease = store.claim(owner, LEASE, true).await?.ok_or(CheckError::Busy)?;
    let found = bus.find_or_create().await?;
    let committed = lease.committed_through;
    if !found.write_back_pending {
        match content::parting(bus, store, found.bounds, committed).await? {
            Some(from) => keep_stranded(bus, store, &mut lease, from, found.bounds.last).await?,
            None => drain(bus, store, &mut lease, found.bounds.last).await?,
        }
    }
    bus.recreate().await?;
    let made = write_back(bus, store, &lease, 0, progress).await?;
    store.set_log(&lease, BusKind::Nats, made.epoch).await?;
    store.release(&lease).await?;
    Ok(made)
}
