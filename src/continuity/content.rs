//! Where stream and store part.
//!
//! Invariant: two logs part once; up to there every sequence that both hold has
//! the same content in both.

use super::CheckError;
use crate::bus::{Bounds, Bus};
use crate::message::LogEntry;
use crate::store::{Original, Store};

/// The first committed sequence at which the stream holds something else
/// than the store.
pub(super) async fn parting(
    bus: &dyn Bus,
    store: &dyn Store,
    bounds: Bounds,
    committed: u64,
) -> Result<Option<u64>, CheckError> {
    let (mut agreed, mut parted) = (bounds.first, bounds.last.min(committed) + 1);
    let end = parted;
    while agreed < parted {
        let middle = agreed + (parted - agreed) / 2;
        if agree_at(bus, store, middle).await? {
            agreed = middle + 1;
        } else {
            parted = middle;
        }
    }
    Ok((parted < end).then_some(parted))
}

/// Holds everything that both have against each other, by halving.
///
/// # Errors
/// [`CheckError::ContentDiffers`] where they part, or that one cannot be asked.
pub async fn check_content(
    bus: &dyn Bus,
    store: &dyn Store,
    bounds: Bounds,
    committed: u64,
) -> Result<(), CheckError> {
    parting(bus, store, bounds, committed)
        .await?
        .map_or(Ok(()), |seq| Err(CheckError::ContentDiffers(seq)))
}

/// Whether nothing in the stream at this sequence is missing in the store.
async fn agree_at(bus: &dyn Bus, store: &dyn Store, seq: u64) -> Result<bool, CheckError> {
    let Some(raw) = bus.get(seq).await? else { return Ok(true) };
    Ok(store.original(seq).await?.is_some_and(|row| is_same(&raw, &row)))
}

/// Whether a row was made of this entry.
fn is_same(raw: &LogEntry, row: &Original) -> bool {
    match &row.foreign {
        Some((payload, _)) => raw.payload == *payload,
        None => raw.payload == row.stored.body,
    }
}

/// Holds the content at the store's highest sequence against the bus's, where
/// both have it.
///
/// # Errors
/// [`CheckError::ContentDiffers`] when they differ, or that one cannot be asked.
pub(super) async fn same_content(
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
    if is_same(&raw, &row) { Ok(()) } else { Err(CheckError::ContentDiffers(committed)) }
}
