//! Writes the missing tail of the stream back from the store.
//!
//! Invariant: a sequence is written with the content that it had, or not at all. Two kinds of rows are not
//! written: those that the stream's own limits would drop at once, and those before a hole that is too wide
//! to be skipped one sequence at a time. The stream's next sequence moves past them.

use super::error::CheckError;
use crate::bus::nats::{NatsBus, Retention, WriteBack};
use crate::bus::{Bus as _, LogIdentity};
use crate::limits::{LEASE, REPLAY_HOLES, WRITE_BACK_FILLERS, WRITE_BACK_ROWS};
use crate::message::LogEntry;
use crate::store::{Lease, Original, Store};

/// Writes the rows up to the watermark that the stream lacks, and moves the stream's next sequence past
/// `seen`, the highest sequence that a reader may have read. Calls `progress` with the last sequence written
/// and the last to write.
///
/// # Errors
/// Bus or store does not answer. The stream stays closed for publishing, and the next call continues.
pub async fn write_back(
    bus: &NatsBus,
    store: &dyn Store,
    lease: &Lease,
    seen: u64,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<LogIdentity, CheckError> {
    let committed = lease.committed_through;
    let last = bus.identity().await?.bounds.last;
    let next = committed.max(seen) + 1;
    if last + 1 >= next {
        bus.reopen().await?;
        return Ok(bus.identity().await?);
    }
    if !bus.can_write_back() {
        tracing::warn!(
            next,
            "the NATS server cannot take a lost tail back: moving the stream's next sequence past it"
        );
        bus.purge_to(next, true).await?;
        return Ok(bus.identity().await?);
    }
    let from = first_to_write(store, bus.retention().await?, last, committed).await?;
    tracing::info!(from, to = committed, "writing the stream's lost tail back from the store");
    let mut stream = bus.begin_write_back(from).await?;
    while stream.next() <= committed {
        let rows = store.originals(stream.next(), WRITE_BACK_ROWS).await?;
        put(&mut stream, rows, committed).await?;
        store.renew(lease, LEASE).await?;
        progress(stream.next() - 1, committed);
    }
    stream.skip_to(next).await?;
    let identity = stream.end().await?;
    tracing::info!(from, to = committed, "the stream's tail is back: publishing can go on");
    Ok(identity)
}

/// Writes rows and skips the holes between them. If there are no rows, no more follow up to `committed`.
async fn put(
    stream: &mut WriteBack<'_>,
    rows: Vec<Original>,
    committed: u64,
) -> Result<(), CheckError> {
    let mut run: Vec<LogEntry> = Vec::with_capacity(rows.len());
    let done = rows.is_empty();
    for row in rows.into_iter().filter(|row| row.stored.seq <= committed) {
        let expected = stream.next() + run.len() as u64;
        if row.stored.seq > expected {
            stream.put(&std::mem::take(&mut run)).await?;
            stream.skip_to(row.stored.seq).await?;
        }
        run.push(row.into_log_entry());
    }
    stream.put(&run).await?;
    if done {
        stream.skip_to(committed + 1).await?;
    }
    Ok(())
}

/// The first sequence to write: within the stream's limits, and after the last hole that is too wide.
async fn first_to_write(
    store: &dyn Store,
    keeps: Retention,
    last: u64,
    committed: u64,
) -> Result<u64, CheckError> {
    let mut from = (last + 1).max((committed + 1).saturating_sub(keeps.messages));
    let mut at = from;
    while at <= committed {
        let holes = store.holes(at, committed, REPLAY_HOLES).await?;
        let Some(latest) = holes.last() else { break };
        at = latest.to + 1;
        let wide = holes.iter().rfind(|hole| hole.to - hole.from >= WRITE_BACK_FILLERS);
        from = from.max(wide.map_or(0, |hole| hole.to + 1));
    }
    let Some(age) = keeps.age else { return Ok(from) };
    let Some(oldest) = store.clock().await?.checked_sub_signed(age) else { return Ok(from) };
    // Times rise with sequences, unless a clock was set; a message more or less does not matter.
    let mut end = committed + 1;
    while from < end {
        let middle = from + (end - from) / 2;
        match store.originals(middle, 1).await?.first() {
            Some(row) if row.logged_at < oldest => from = row.stored.seq.min(committed) + 1,
            Some(_) | None => end = middle,
        }
    }
    Ok(from)
}
