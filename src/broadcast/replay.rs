//! Reads messages that are older than the ring: from the store, or, if the store does not have them yet, from
//! the bus.
//!
//! Invariant: only the store decides that a message is missing for ever. If the bus lacks the next sequence,
//! the replay waits until the store has reached it.

use std::sync::Arc;

use super::broadcaster::Broadcaster;
use super::segment::{Segment, SegmentBuilder};
use super::store_replay::SharedSegment;
use crate::bus::{BusError, Reader};
use crate::erased::Erased;
use crate::message::{Filter, LogEntry, decode};

/// Why nothing older than the ring can be read now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus lacks the next sequence. Once the store has reached it, the store has the message or has
    /// recorded a hole.
    #[error("the store has not reached what the bus no longer holds")]
    StoreBehind,
}

/// The replay of one subscription.
#[derive(Default)]
pub(super) struct Replay {
    /// The segment that is being sent. It is kept for other subscriptions that reach the same position.
    shared: Option<Arc<SharedSegment>>,
    /// An open reader of the bus, and the next sequence that it returns.
    reader: Option<(Box<dyn Reader>, u64)>,
    /// The bus lacks the sequence after this one. Only the store knows whether that is a hole.
    skips_after: Option<u64>,
}

impl Replay {
    /// Bytes of the segment that is kept in `shared`.
    pub(super) fn segment_bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.bytes())
    }

    /// The segment after `position`: rows of the store if it has reached that far, else entries of the bus up
    /// to (not including) `ring_first`.
    pub(super) async fn read(
        &mut self,
        broadcaster: &Broadcaster,
        filter: &Filter,
        position: u64,
        ring_first: u64,
    ) -> Result<Arc<Segment>, ReplayError> {
        let (result, shared) = broadcaster.store_replay.after(filter, position).await;
        self.shared = Some(shared);
        match result {
            Ok(Some(segment)) => {
                self.reader = None;
                return Ok(segment);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, position, "replaying from the bus instead of the store");
            }
        }
        self.shared = None;
        self.read_bus(broadcaster, filter, position, ring_first).await.map(Arc::new)
    }

    /// Reads entries from the bus, up to the first one that the bus lacks.
    async fn read_bus(
        &mut self,
        broadcaster: &Broadcaster,
        filter: &Filter,
        position: u64,
        ring_first: u64,
    ) -> Result<Segment, ReplayError> {
        let (bus, erased) = (&*broadcaster.bus, &*broadcaster.erased);
        if self.skips_after == Some(position) {
            return Err(ReplayError::StoreBehind);
        }
        let mut reader = match self.reader.take() {
            Some((reader, next)) if next == position + 1 => reader,
            _ if bus.identity().await?.bounds.first > position + 1 => {
                return Err(ReplayError::StoreBehind);
            }
            _ => bus.reader(position + 1).await?,
        };
        let entries = reader.next().await?;
        let last = entries.last().map(|entry| entry.seq);
        let segment = segment_of(entries, bus.log_name(), erased, filter, position, ring_first);
        // If the reader has read further than the segment, it is dropped: it would skip the entries in
        // between.
        if last == Some(segment.position) {
            self.reader = Some((reader, segment.position + 1));
        }
        if segment.position == position {
            self.skips_after = Some(position);
            return Err(ReplayError::StoreBehind);
        }
        Ok(segment)
    }
}

/// A segment of the entries that follow `position` without a hole and come before the ring.
fn segment_of(
    entries: Vec<LogEntry>,
    log: &str,
    erased: &Erased,
    filter: &Filter,
    mut position: u64,
    ring_first: u64,
) -> Segment {
    let (mut segment, erasures) = (SegmentBuilder::default(), erased.number());
    for entry in entries {
        if entry.seq != position + 1 || entry.seq >= ring_first {
            break;
        }
        position = entry.seq;
        let record = erased.shown(decode(entry, log));
        if filter.matches(&record) {
            segment.message(record.seq, record.kind, &record.body);
        }
    }
    Segment { erasures, ..segment.finish(position) }
}
