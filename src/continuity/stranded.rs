//! Stores the entries that only the stream has, before the stream is changed.
//!
//! Invariant: no entry of the stream is dropped that the store lacks. Before the first difference of the two
//! logs an entry keeps its sequence; from there on it gets a new sequence under the same id.

use uuid::Uuid;

use super::error::CheckError;
use crate::bus::Bus;
use crate::limits::{DRAIN_WAIT, LEASE};
use crate::message::{Record, decode};
use crate::store::{Batch, Hole, HoleReason, Lease, Store, StoreError, Write, write_all};

/// Stores the entries from `from` to `last` that the store lacks, under new sequences and the same ids. Such
/// entries were left behind by `--abandon-tail`, published while the log was on the memory bus, or published
/// to a recreated stream.
pub(super) async fn store_under_new_sequences(
    bus: &dyn Bus,
    store: &dyn Store,
    lease: &mut Lease,
    from: u64,
    last: u64,
) -> Result<(), CheckError> {
    let mut reader = bus.reader(from).await?;
    let mut next = from;
    while next <= last {
        let Ok(entries) = tokio::time::timeout(DRAIN_WAIT, reader.next()).await else { break };
        let entries = entries?;
        next = entries.last().map_or(next, |raw| raw.seq) + 1;
        let found: Vec<Record> =
            entries.into_iter().map(|raw| decode(raw, bus.log_name())).collect();
        let ids: Vec<Uuid> = found.iter().map(|record| record.id).collect();
        let known = store.find(&ids).await?;
        let mut batch = Batch::after(lease.committed_through);
        for record in found.into_iter().filter(|record| !known.contains_key(&record.id)) {
            batch.append(record);
        }
        if !batch.records.is_empty() {
            let messages = batch.records.len();
            tracing::info!(messages, "storing under new sequences what only the stream holds");
            write_all(store, lease, &batch).await?;
            lease.committed_through = batch.through();
        }
    }
    Ok(())
}

/// Stores the bus's entries beyond the watermark, up to `last`, under their own sequences.
///
/// # Errors
/// Bus or store does not answer.
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
            // The newest entries were deleted from the stream, so there is nothing more to read.
            Err(_) => return Ok(skip(store, lease, last, HoleReason::Expired).await?),
        }
        write_all(store, lease, &batch).await?;
        lease.committed_through = batch.through();
    }
    Ok(())
}

/// Moves the watermark to `last`, and records the skipped range as a hole.
///
/// # Errors
/// The error of the store.
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
