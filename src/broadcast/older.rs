//! What is older than the ring: from the store, and behind it from the bus.
//!
//! Invariant: a run of sequences is told as a gap only where the store, having
//! come that far, has recorded it as a hole. Until it has, the reader waits.

use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use crate::bus::{Bus, BusError, Reader};
use crate::limits::{CHUNK_BYTES, REPLAY_BYTES, REPLAY_HOLES, REPLAY_ROWS};
use crate::message::{Filter, Query, Raw, decode};
use crate::store::{Hole, Store, StoreError, Stored};

/// Frames of a stretch of the past, and how far it reaches.
pub(super) struct Stretch {
    pub(super) frames: Vec<Bytes>,
    pub(super) cursor: u64,
}

/// Why the past could not be read now.
#[derive(Debug, thiserror::Error)]
pub(super) enum OlderError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus lacks the next sequence; the store will have it, or tell a hole,
    /// when it has come that far.
    #[error("the store has not reached what the bus no longer holds")]
    Ahead,
}

/// Reads the past for one subscription, and keeps its place in the bus.
#[derive(Default)]
pub(super) struct Older {
    /// An open reader and the sequence it goes on at.
    reader: Option<(Box<dyn Reader>, u64)>,
    /// After this sequence the bus skips something: only the store can tell.
    skips_after: Option<u64>,
}

impl Older {
    /// A stretch after `cursor`: rows of the store as far as it reaches, else
    /// entries of the bus up to (not including) `ring_first`.
    pub(super) async fn read(
        &mut self,
        store: &dyn Store,
        bus: &Arc<dyn Bus>,
        filter: &Filter,
        cursor: u64,
        ring_first: u64,
    ) -> Result<Stretch, OlderError> {
        match read_store(store, filter, cursor).await {
            Ok(Some(stretch)) => {
                self.reader = None;
                Ok(stretch)
            }
            Ok(None) => self.read_bus(bus, filter, cursor, ring_first).await,
            Err(error) => {
                tracing::debug!(%error, cursor, "replaying from the bus instead of the store");
                self.read_bus(bus, filter, cursor, ring_first).await
            }
        }
    }

    /// Entries of the bus, as far as it lacks none.
    async fn read_bus(
        &mut self,
        bus: &Arc<dyn Bus>,
        filter: &Filter,
        cursor: u64,
        ring_first: u64,
    ) -> Result<Stretch, OlderError> {
        if self.skips_after == Some(cursor) {
            return Err(OlderError::Ahead);
        }
        let mut reader = match self.reader.take() {
            Some((reader, next)) if next == cursor + 1 => reader,
            _ if bus.identity().await?.bounds.first > cursor + 1 => return Err(OlderError::Ahead),
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
            return Err(OlderError::Ahead);
        }
        Ok(stretch)
    }
}

/// Frames of entries that follow on the cursor and on each other, up to where
/// the ring takes over.
fn frames_of(
    entries: Vec<Raw>,
    log: &str,
    filter: &Filter,
    cursor: u64,
    ring_first: u64,
) -> Stretch {
    let mut stretch = Stretch { frames: Vec::new(), cursor };
    for raw in entries {
        if raw.seq != stretch.cursor + 1 || raw.seq >= ring_first {
            break;
        }
        stretch.cursor = raw.seq;
        let record = decode(raw, log);
        if filter.matches(&record) {
            stretch.frames.push(frame::message(record.seq, record.kind, &record.body));
        }
    }
    stretch
}

/// Rows after `cursor` with the holes between them; `None` when the store
/// reaches no further than the cursor.
async fn read_store(
    store: &dyn Store,
    filter: &Filter,
    cursor: u64,
) -> Result<Option<Stretch>, StoreError> {
    let query = Query {
        filter: filter.clone(),
        after: Some(cursor),
        before: None,
        since: None,
        until: None,
        between: None,
        limit: REPLAY_ROWS,
        limit_bytes: REPLAY_BYTES,
        descending: false,
    };
    let page = store.page(&query).await?;
    if page.committed_through <= cursor {
        return Ok(None);
    }
    let reach = match page.messages.last() {
        Some(last) if page.more => last.seq,
        _ => page.committed_through,
    };
    let holes = store.holes(cursor + 1, reach, REPLAY_HOLES).await?;
    Ok(Some(merge(page.messages, &holes, cursor, reach)))
}

/// Messages and gaps in order. When there are more holes than were asked for,
/// the stretch ends at the last one known.
fn merge(messages: Vec<Stored>, holes: &[Hole], cursor: u64, reach: u64) -> Stretch {
    let reach = match holes.last() {
        Some(last) if holes.len() == REPLAY_HOLES => last.to.min(reach),
        _ => reach,
    };
    let mut frames = Vec::with_capacity(messages.len());
    let mut holes = holes.iter().peekable();
    let tell = |hole: &Hole, frames: &mut Vec<Bytes>| {
        let (from, to) = (hole.from.max(cursor + 1), hole.to.min(reach));
        frames.push(frame::gap(from, to, hole.reason.as_str()));
    };
    for stored in messages.into_iter().filter(|stored| stored.seq <= reach) {
        while let Some(hole) = holes.next_if(|hole| hole.from < stored.seq) {
            tell(hole, &mut frames);
        }
        frames.push(frame::message(stored.seq, stored.kind, &stored.body));
    }
    for hole in holes {
        tell(hole, &mut frames);
    }
    Stretch { frames, cursor: reach }
}

/// Frames put together to chunks that a connection takes at once.
pub(super) fn chunks(frames: Vec<Bytes>) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for frame in frames {
        open.extend_from_slice(&frame);
        if open.len() >= CHUNK_BYTES {
            chunks.push(Bytes::from(std::mem::take(&mut open)));
        }
    }
    if !open.is_empty() {
        chunks.push(Bytes::from(open));
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;
    use crate::store::HoleReason;

    fn stored(seq: u64) -> Stored {
        Stored { seq, kind: Kind::Task, body: Bytes::from_static(b"{}") }
    }

    fn told(stretch: &Stretch) -> String {
        let all: Vec<u8> = stretch.frames.concat();
        let text = String::from_utf8(all).expect("UTF-8");
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| {
                let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
                match data["seq"].as_u64() {
                    Some(seq) => seq.to_string(),
                    None => format!("{}-{}", data["from"], data["to"]),
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn holes_stand_where_they_are() {
        let hole = |from, to| Hole { from, to, reason: HoleReason::Expired };
        let stretch =
            merge(vec![stored(5), stored(9)], &[hole(1, 4), hole(6, 8), hole(10, 20)], 2, 12);
        assert_eq!(told(&stretch), "3-4 5 6-8 9 10-12");
        assert_eq!(stretch.cursor, 12);
    }
}
