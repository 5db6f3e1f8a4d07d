//! Reads what is older than the ring: from the store, and what the store does not have yet from the bus.
//!
//! Invariant: only the store says what is missing for ever. Where the bus lacks the next sequence, the reader waits
//! until the store has come that far.

use std::sync::Arc;

use super::broadcaster::Broadcaster;
use super::segment::{Segment, SegmentBuilder};
use super::store_replay::SharedSegment;
use crate::bus::{Bus, BusError, Reader};
use crate::message::{Filter, LogEntry, decode};

/// Why nothing older than the ring could be read now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus lacks the next sequence. The store will have it, or record it as a hole, when it has come that far.
    #[error("the store has not reached what the bus no longer holds")]
    StoreBehind,
}

/// The replay of one subscription.
#[derive(Default)]
pub(super) struct Replay {
    /// The segment that is being sent, kept for other subscriptions that reach the same position.
    shared: Option<Arc<SharedSegment>>,
    /// An open reader of the bus and the sequence it goes on at.
    reader: Option<(Box<dyn Reader>, u64)>,
    /// After this sequence the bus skips some: only the store knows whether they are holes.
    skips_after: Option<u64>,
}

impl Replay {
    /// Bytes of the segment that is kept.
    pub(super) fn segment_bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.bytes())
    }

    /// A segment after `position`: rows of the store as far as it reaches, else entries of the bus up to (not
    /// including) `ring_first`.
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
        self.read_bus(&*broadcaster.bus, filter, position, ring_first).await.map(Arc::new)
    }

    /// Entries of the bus, up to the first that it lacks.
    async fn read_bus(
        &mut self,
        bus: &dyn Bus,
        filter: &Filter,
        position: u64,
        ring_first: u64,
    ) -> Result<Segment, ReplayError> {
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
        let segment = segment_of(entries, bus.log_name(), filter, position, ring_first);
        // A reader that has read further than the segment reaches would skip the rest.
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

/// The entries that follow `position` and each other without a hole, up to where the ring begins.
fn segment_of(
    entries: Vec<LogEntry>,
    log: &str,
    filter: &Filter,
    mut position: u64,
    ring_first: u64,
) -> Segment {
    let mut segment = SegmentBuilder::default();
    for entry in entries {
        if entry.seq != position + 1 || entry.seq >= ring_first {
            break;
        }
        position = entry.seq;
        let record = decode(entry, log);
        if filter.matches(&record) {
            segment.message(record.seq, record.kind, &record.body);
        }
    }
    segment.finish(position)
}
