//! Writes a batch, even if the store refuses some of its rows.
//!
//! Invariant: one refused row does not stop the others. A refused batch is halved until the row is alone.
//! That row is then stored *bare*, with sequence, subject and body alone. The watermark moves with each part.

use std::time::Instant;

use super::batch::Batch;
use super::contract::Store;
use super::error::StoreError;
use super::log::{Hole, Lease, Write};
use crate::limits::LEASE;
use crate::message::Record;

/// Writes the batch under the lease.
///
/// # Errors
/// The store's errors. [`StoreError::Refused`] only if it refuses a bare row too.
pub async fn write_all(store: &dyn Store, lease: &Lease, batch: &Batch) -> Result<(), StoreError> {
    let mut parts = vec![&batch.records[..]];
    let mut through = batch.after;
    while let Some(records) = parts.pop() {
        let Some(last) = records.last() else { continue };
        match write_part(store, lease, through, records, &batch.holes, false).await {
            Err(StoreError::Refused(_)) if records.len() > 1 => {
                let (head, tail) = records.split_at(records.len() / 2);
                parts.push(tail);
                parts.push(head);
                continue;
            }
            Err(StoreError::Refused(reason)) => {
                tracing::warn!(
                    seq = last.seq,
                    reason,
                    "the store refused this message's columns: stored with sequence, subject and body alone; filters do not find it"
                );
                metrics::counter!("agentbus_projector_bare_rows_total").increment(1);
                write_part(store, lease, through, records, &batch.holes, true).await?;
            }
            result => result?,
        }
        metrics::counter!("agentbus_projected_total").increment(records.len() as u64);
        through = last.seq;
    }
    Ok(())
}

async fn write_part(
    store: &dyn Store,
    lease: &Lease,
    old_through: u64,
    records: &[Record],
    holes: &[Hole],
    bare: bool,
) -> Result<(), StoreError> {
    let new_through = records.last().map_or(old_through, |record| record.seq);
    let start = holes.partition_point(|hole| hole.from <= old_through);
    let end = holes.partition_point(|hole| hole.from <= new_through);
    let write = Write {
        old_through,
        new_through,
        records,
        holes: &holes[start..end],
        bare,
        lease_for: LEASE,
    };
    let begun = Instant::now();
    let written = store.write(lease, write).await;
    let outcome = if written.is_ok() { "ok" } else { "failed" };
    metrics::histogram!("agentbus_store_write_seconds", "outcome" => outcome)
        .record(begun.elapsed());
    written
}
