//! Stretches of the past, read from the store once for all who want them now.
//!
//! Invariants: a run of sequences is told as a gap only where the store, having come that
//! far, has recorded it as a hole. What lies beneath the watermark never changes, so a
//! stretch once read is good for everybody; it is kept as long as one who took it has not
//! gone on. At most [`REPLAY_READS`] are read at once: the others wait here, in turn, and not
//! for a connection until its time-out.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::frame;
use super::singleflight::Singleflight;
use crate::limits::{
    CHUNK_BYTES, REPLAY_BYTES, REPLAY_HOLES, REPLAY_READS, REPLAY_ROWS, STORE_READ_PAUSE,
};
use crate::message::{Filter, Query};
use crate::store::{Hole, Page, Store, StoreError, Stored};

/// Frames of a stretch of the past, in pieces that a connection takes at once, and how far
/// it reaches.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) chunks: Vec<Bytes>,
    pub(super) cursor: u64,
}

/// What a reader holds of a stretch until it has the next.
pub(super) type Held = Arc<SharedSegment>;

/// `None`: the store reaches no further than the cursor.
type Answer = Result<Option<Arc<Segment>>, Arc<StoreError>>;

/// Where the stretch after one cursor is read, and stands when it has been.
#[derive(Debug, Default)]
pub(super) struct SharedSegment {
    asking: Singleflight<Answer>,
    stretch: OnceLock<Arc<Segment>>,
}

impl SharedSegment {
    /// Bytes of the stretch, once it was read.
    pub(super) fn bytes(&self) -> usize {
        let stretch = self.stretch.get();
        stretch.map_or(0, |stretch| stretch.chunks.iter().map(Bytes::len).sum())
    }
}

/// All places that somebody holds.
pub(super) struct StoreReplay {
    places: Mutex<HashMap<(Filter, u64), Weak<SharedSegment>>>,
    reads: Semaphore,
    /// When the store last failed: who waits meanwhile need not find that out again.
    failed: Mutex<Option<(Instant, Arc<StoreError>)>>,
}

impl StoreReplay {
    pub(super) fn new() -> Self {
        let (places, failed) = (Mutex::default(), Mutex::default());
        Self { places, reads: Semaphore::new(REPLAY_READS), failed }
    }

    /// The stretch of a filter after `cursor`, and what to hold while it is sent.
    pub(super) async fn after(
        &self,
        store: &dyn Store,
        filter: &Filter,
        cursor: u64,
    ) -> (Answer, Held) {
        let place = self.place(filter, cursor);
        if let Some(stretch) = place.stretch.get() {
            return (Ok(Some(Arc::clone(stretch))), place);
        }
        let read = async {
            if let Some(stretch) = place.stretch.get() {
                return Ok(Some(Arc::clone(stretch)));
            }
            let read = self.read(store, filter, cursor).await?;
            Ok(read.map(|read| Arc::clone(place.stretch.get_or_init(|| Arc::new(read)))))
        };
        let answer = place.asking.ask(read).await;
        (answer, place)
    }

    fn place(&self, filter: &Filter, cursor: u64) -> Arc<SharedSegment> {
        let mut places = self.places.lock();
        let key = (filter.clone(), cursor);
        if let Some(place) = places.get(&key).and_then(Weak::upgrade) {
            return place;
        }
        if places.len() == places.capacity() {
            places.retain(|_, place| place.strong_count() > 0);
            // Not swept again before as many more have come.
            let held = places.len();
            places.reserve(held);
        }
        let place = Arc::default();
        places.insert(key, Arc::downgrade(&place));
        place
    }

    async fn read(
        &self,
        store: &dyn Store,
        filter: &Filter,
        cursor: u64,
    ) -> Result<Option<Segment>, Arc<StoreError>> {
        let _turn = self.reads.acquire().await;
        let lock = || self.failed.lock();
        let recent = |at: &Instant| at.elapsed() < STORE_READ_PAUSE;
        if let Some((_, error)) = lock().as_ref().filter(|(at, _)| recent(at)) {
            return Err(Arc::clone(error));
        }
        let read = read_store(store, filter, cursor).await.map_err(Arc::new);
        *lock() = read.as_ref().err().map(|error| (Instant::now(), Arc::clone(error)));
        read
    }
}

/// Rows after `cursor` with the holes between them; `None` when the store
/// reaches no further than the cursor.
async fn read_store(
    store: &dyn Store,
    filter: &Filter,
    cursor: u64,
) -> Result<Option<Segment>, StoreError> {
    let page = store.page(&query(filter, cursor)).await?;
    if page.committed_through <= cursor {
        return Ok(None);
    }
    let reach = reach(&page);
    // Rows without a sequence missing have no holes between them.
    let whole = reach - cursor == page.messages.len() as u64;
    let holes = match whole {
        true => Vec::new(),
        false => store.holes(cursor + 1, reach, REPLAY_HOLES).await?,
    };
    Ok(Some(merge(&page.messages, &holes, cursor, reach)))
}

/// The page after `cursor`. Of all messages it ends at a round sequence, so that readers who
/// began at different places come to ask for the same pages.
fn query(filter: &Filter, cursor: u64) -> Query {
    let rows = REPLAY_ROWS as u64;
    let limit = if filter.is_empty() { rows - cursor % rows } else { rows };
    Query {
        filter: filter.clone(),
        after: Some(cursor),
        before: None,
        since: None,
        until: None,
        between: None,
        limit: usize::try_from(limit).unwrap_or(REPLAY_ROWS),
        limit_bytes: REPLAY_BYTES,
        descending: false,
    }
}

/// How far a page tells everything.
fn reach(page: &Page) -> u64 {
    match page.messages.last() {
        Some(last) if page.more => last.seq,
        _ => page.committed_through,
    }
}

/// Messages and gaps in order. When there are more holes than were asked for,
/// the stretch ends at the last one known.
fn merge(messages: &[Stored], holes: &[Hole], cursor: u64, reach: u64) -> Segment {
    let reach = match holes.last() {
        Some(last) if holes.len() == REPLAY_HOLES => last.to.min(reach),
        _ => reach,
    };
    let mut chunks = Chunks::default();
    let mut holes = holes.iter().peekable();
    let tell = |hole: &Hole, chunks: &mut Chunks| {
        let (from, to) = (hole.from.max(cursor + 1), hole.to.min(reach));
        chunks.add(|out| out.extend_from_slice(&frame::gap(from, to, hole.reason.as_str())));
    };
    for stored in messages.iter().filter(|stored| stored.seq <= reach) {
        while let Some(hole) = holes.next_if(|hole| hole.from < stored.seq) {
            tell(hole, &mut chunks);
        }
        chunks.add(|out| frame::write_message(stored.seq, stored.kind, &stored.body, out));
    }
    for hole in holes {
        tell(hole, &mut chunks);
    }
    Segment { chunks: chunks.end(), cursor: reach }
}

/// Frames put together to chunks that a connection takes at once.
#[derive(Default)]
pub(super) struct Chunks {
    full: Vec<Bytes>,
    open: Vec<u8>,
}

impl Chunks {
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.open.capacity() == 0 {
            self.open.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
        }
        write(&mut self.open);
        if self.open.len() >= CHUNK_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        let mut chunk = std::mem::take(&mut self.open);
        chunk.shrink_to_fit();
        self.full.push(Bytes::from(chunk));
    }

    pub(super) fn end(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.close();
        }
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;
    use crate::store::HoleReason;

    fn stored(seq: u64) -> Stored {
        Stored { seq, kind: Kind::Task, body: Bytes::from_static(b"{}") }
    }

    fn told(stretch: &Segment) -> String {
        let all: Vec<u8> = stretch.chunks.concat();
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
        let messages = [stored(5), stored(9)];
        let stretch = merge(&messages, &[hole(1, 4), hole(6, 8), hole(10, 20)], 2, 12);
        assert_eq!(told(&stretch), "3-4 5 6-8 9 10-12");
        assert_eq!(stretch.cursor, 12);
    }

    #[test]
    fn readers_of_all_messages_come_to_ask_for_the_same_pages() {
        let rows = REPLAY_ROWS as u64;
        let end = |cursor| cursor + query(&Filter::default(), cursor).limit as u64;
        assert_eq!((end(0), end(1), end(rows - 1)), (rows, rows, rows));
        assert_eq!(end(rows), 2 * rows);
    }

    #[test]
    fn a_place_is_shared_while_somebody_holds_it() {
        let past = StoreReplay::new();
        let filter = Filter::default();
        let held = past.place(&filter, 7);
        assert!(Arc::ptr_eq(&held, &past.place(&filter, 7)));
        assert!(!Arc::ptr_eq(&held, &past.place(&filter, 8)));
        drop(held);
        for cursor in 0..10_000 {
            drop(past.place(&filter, cursor));
        }
        let kept = past.places.lock().len();
        assert!(kept < 100, "{kept} places that nobody holds");
    }
}
