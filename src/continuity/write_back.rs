//! The stream's missing tail, back from the store.
//!
//! Invariant: a sequence comes back with the content it had, or not at all. What the
//! stream's own limits would drop at once, and what lies before a hole too wide to be
//! skipped one by one, is left to the store; the sequence moves on over it.

use chrono::Utc;

use super::CheckError;
use crate::bus::nats::{NatsBus, Retention, WriteBack};
use crate::bus::{Bus as _, LogIdentity};
use crate::limits::{LEASE, REPLAY_HOLES, WRITE_BACK_FILLERS, WRITE_BACK_ROWS};
use crate::message::LogEntry;
use crate::store::{Lease, Original, Store};

/// Writes what the stream lacks up to the watermark, and moves its next sequence beyond `seen`,
/// the highest that any reader may have met. `progress` is told how far it is, and how far it goes.
///
/// # Errors
/// That bus or store cannot be asked; the stream stays shut, and the next call goes on.
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
            "the NATS server cannot take a lost tail back: moving its sequence on"
        );
        bus.purge_to(next, true).await?;
        return Ok(bus.identity().await?);
    }
    let from = beginning(store, bus.retention().await?, last, committed).await?;
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

/// Writes rows, and skips what lies between them; no rows means that none follow.
async fn put(
    stream: &mut WriteBack<'_>,
    rows: Vec<Original>,
    committed: u64,
) -> Result<(), CheckError> {
    let mut run: Vec<LogEntry> = Vec::with_capacity(rows.len());
    let done = rows.is_empty();
    for row in rows.into_iter().filter(|row| row.stored.seq <= committed) {
        let due = stream.next() + run.len() as u64;
        if row.stored.seq > due {
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

/// The first sequence worth writing: within the stream's limits, and after the last hole that is
/// too wide.
async fn beginning(
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
    let Some(oldest) = keeps.age.and_then(|age| Utc::now().checked_sub_signed(age)) else {
        return Ok(from);
    };
    // Times rise with sequences, but for what clocks do; a message more or less is no matter.
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
