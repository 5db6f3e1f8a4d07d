//! What is older than the ring: from the store, and behind it from the bus.
//!
//! Invariant: only the store tells what is missing for ever. Where the bus lacks the next
//! sequence, the reader waits until the store has come that far.

use std::sync::Arc;

use super::frame;
use super::store_replay::{Chunks, Held, Segment, StoreReplay};
use crate::bus::{Bus, BusError, Reader};
use crate::message::{Filter, LogEntry, decode};
use crate::store::Store;

/// Why the past could not be read now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus lacks the next sequence; the store will have it, or tell a hole,
    /// when it has come that far.
    #[error("the store has not reached what the bus no longer holds")]
    StoreBehind,
}

/// Where the past is read.
pub(super) struct Sources<'a> {
    pub(super) past: &'a StoreReplay,
    pub(super) store: &'a dyn Store,
    pub(super) bus: &'a Arc<dyn Bus>,
}

/// Reads the past for one subscription, and keeps its place in the bus.
#[derive(Default)]
pub(super) struct Replay {
    /// The stretch that is being sent, for others who come to the same place.
    held: Option<Held>,
    /// An open reader and the sequence it goes on at.
    reader: Option<(Box<dyn Reader>, u64)>,
    /// After this sequence the bus skips something: only the store can tell.
    skips_after: Option<u64>,
}

impl Replay {
    /// Bytes of the stretch that is held.
    pub(super) fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |place| place.bytes())
    }

    /// A stretch after `cursor`: rows of the store as far as it reaches, else
    /// entries of the bus up to (not including) `ring_first`.
    pub(super) async fn read(
        &mut self,
        from: Sources<'_>,
        filter: &Filter,
        cursor: u64,
        ring_first: u64,
    ) -> Result<Arc<Segment>, ReplayError> {
        let (answer, held) = from.past.after(from.store, filter, cursor).await;
        self.held = Some(held);
        match answer {
            Ok(Some(stretch)) => {
                self.reader = None;
                return Ok(stretch);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, cursor, "replaying from the bus instead of the store");
            }
        }
        self.held = None;
        self.read_bus(from.bus, filter, cursor, ring_first).await.map(Arc::new)
    }

    /// Entries of the bus, as far as it lacks none.
    async fn read_bus(
        &mut self,
        bus: &Arc<dyn Bus>,
        filter: &Filter,
        cursor: u64,
        ring_first: u64,
    ) -> Result<Segment, ReplayError> {
        if self.skips_after == Some(cursor) {
            return Err(ReplayError::StoreBehind);
        }
        let mut reader = match self.reader.take() {
            Some((reader, next)) if next == cursor + 1 => reader,
            _ if bus.identity().await?.bounds.first > cursor + 1 => {
                return Err(ReplayError::StoreBehind);
            }
            _ => bus.reader(cursor + 1).await?,
        };
        let entries = reader.next().await?;
        let last = entries.last().map(|raw| raw.seq);
        let stretch = frames_of(entries, bus.log_name(), filter, cursor, ring_first);
        // A reader that has gone further would skip what it read of that.
        if last == Some(stretch.cursor) {
            self.reader = Some((reader, stretch.cursor + 1));
        }
        if stretch.cursor == cursor {
            self.skips_after = Some(cursor);
            return Err(ReplayError::StoreBehind);
        }
        Ok(stretch)
    }
}

/// Frames of entries that follow on the cursor and on each other, up to where
/// the ring takes over.
fn frames_of(
    entries: Vec<LogEntry>,
    log: &str,
    filter: &Filter,
    mut cursor: u64,
    ring_first: u64,
) -> Segment {
    let mut chunks = Chunks::default();
    for raw in entries {
        if raw.seq != cursor + 1 || raw.seq >= ring_first {
            break;
        }
        cursor = raw.seq;
        let record = decode(raw, log);
        if filter.matches(&record) {
            chunks.add(|out| frame::write_message(record.seq, record.kind, &record.body, out));
        }
    }
    Segment { chunks: chunks.end(), cursor }
}
