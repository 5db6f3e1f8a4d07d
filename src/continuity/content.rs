//! Compares the content of the stream with that of the store.
//!
//! Invariant: two logs are equal up to some sequence and differ from there on, so a binary search finds the
//! first difference. A message that is erased in the store agrees with any content of its id at its sequence.

use super::error::CheckError;
use crate::bus::{Bounds, Bus};
use crate::message::{LogEntry, decode};
use crate::store::{Original, Store};

/// The first committed sequence at which the stream's content differs from the store's, found by binary
/// search.
pub(super) async fn first_difference(
    bus: &dyn Bus,
    store: &dyn Store,
    bounds: Bounds,
    committed: u64,
) -> Result<Option<u64>, CheckError> {
    let end = bounds.last.min(committed) + 1;
    let (mut same_below, mut differs_from) = (bounds.first, end);
    while same_below < differs_from {
        let middle = same_below + (differs_from - same_below) / 2;
        if is_stored(bus, store, middle).await? {
            same_below = middle + 1;
        } else {
            differs_from = middle;
        }
    }
    Ok((differs_from < end).then_some(differs_from))
}

/// Compares the content of all sequences that both have.
///
/// # Errors
/// [`CheckError::ContentDiffers`] at the first difference; bus or store does not answer.
pub async fn check_content(
    bus: &dyn Bus,
    store: &dyn Store,
    bounds: Bounds,
    committed: u64,
) -> Result<(), CheckError> {
    let difference = first_difference(bus, store, bounds, committed).await?;
    difference.map_or(Ok(()), |seq| Err(CheckError::ContentDiffers(seq)))
}

/// Compares the content at the store's highest sequence, if both have it.
///
/// # Errors
/// [`CheckError::ContentDiffers`]; bus or store does not answer.
pub(super) async fn check_last(
    bus: &dyn Bus,
    store: &dyn Store,
    committed: u64,
) -> Result<(), CheckError> {
    if committed == 0 {
        return Ok(());
    }
    let (Some(entry), Some(row)) = (bus.get(committed).await?, store.original(committed).await?)
    else {
        return Ok(());
    };
    match is_same(&entry, &row) || is_erased(bus, store, entry).await? {
        true => Ok(()),
        false => Err(CheckError::ContentDiffers(committed)),
    }
}

/// Whether the store has the stream's entry at this sequence; also true if the stream has none there.
async fn is_stored(bus: &dyn Bus, store: &dyn Store, seq: u64) -> Result<bool, CheckError> {
    let Some(entry) = bus.get(seq).await? else { return Ok(true) };
    let Some(row) = store.original(seq).await? else { return Ok(false) };
    Ok(is_same(&entry, &row) || is_erased(bus, store, entry).await?)
}

/// Whether the entry is of a message that was erased. The task that finishes erasures erases it again.
async fn is_erased(bus: &dyn Bus, store: &dyn Store, entry: LogEntry) -> Result<bool, CheckError> {
    let Some(erasure) = store.erasure(entry.seq).await? else { return Ok(false) };
    Ok(decode(entry, bus.log_name()).id == erasure.id)
}

/// Whether the row in the store was made from this entry.
fn is_same(entry: &LogEntry, row: &Original) -> bool {
    match &row.foreign {
        Some((payload, _)) => entry.payload == *payload,
        None => entry.payload == row.stored.body,
    }
}
