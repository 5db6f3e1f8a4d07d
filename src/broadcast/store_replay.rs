//! Reads segments from the store. Subscriptions that need the same segment at the same time share one read.
//!
//! Invariants: sequences are reported as a gap only if the store has reached them and recorded a hole. Rows
//! below the store's watermark never change, unless their message is erased: a segment names the erasures that it was
//! read after. So it stays valid for every subscription; it is kept until the last one that took it has moved on. At most [`REPLAY_READS`] segments are read at the same time.
//! Further readers wait here for their turn: if they waited for a database connection, they would time out.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::segment::{Segment, SegmentBuilder};
use crate::erased::Erased;
use crate::limits::{REPLAY_BYTES, REPLAY_HOLES, REPLAY_READS, REPLAY_ROWS, STORE_READ_PAUSE};
use crate::message::{Filter, Query};
use crate::singleflight::Singleflight;
use crate::store::{Hole, Store, StoreError, Stored};

/// `None`: the store has not reached beyond the position.
type ReadResult = Result<Option<Arc<Segment>>, Arc<StoreError>>;

/// The segment for one filter and one position, shared by all subscriptions at that position.
#[derive(Debug, Default)]
pub(super) struct SharedSegment {
    reads: Singleflight<ReadResult>,
    segment: OnceLock<Arc<Segment>>,
}

impl SharedSegment {
    /// Bytes of the segment; 0 before it was read.
    pub(super) fn bytes(&self) -> usize {
        self.segment.get().map_or(0, |segment| segment.bytes())
    }
}

/// Reads segments from the store.
pub(super) struct StoreReplay {
    store: Arc<dyn Store>,
    erased: Arc<Erased>,
    shared: Mutex<HashMap<(Filter, u64), Weak<SharedSegment>>>,
    permits: Semaphore,
    /// The last failure of the store, and when. Readers that waited meanwhile get the same error.
    failed: Mutex<Option<(Instant, Arc<StoreError>)>>,
}

impl StoreReplay {
    pub(super) fn new(store: Arc<dyn Store>, erased: Arc<Erased>) -> Self {
        let permits = Semaphore::new(REPLAY_READS);
        Self { store, erased, shared: Mutex::default(), permits, failed: Mutex::default() }
    }

    /// The segment of a filter after `position`. The caller keeps the second value while it sends the
    /// segment, so that others find it.
    pub(super) async fn after(
        &self,
        filter: &Filter,
        position: u64,
    ) -> (ReadResult, Arc<SharedSegment>) {
        let shared = self.shared(filter, position);
        if let Some(segment) = shared.segment.get() {
            return (Ok(Some(Arc::clone(segment))), shared);
        }
        let read = async {
            if let Some(segment) = shared.segment.get() {
                return Ok(Some(Arc::clone(segment)));
            }
            let read = self.read(filter, position).await?;
            Ok(read.map(|read| Arc::clone(shared.segment.get_or_init(|| Arc::new(read)))))
        };
        let result = shared.reads.run(read).await;
        (result, shared)
    }

    /// Reads every segment again from now on, since a message was erased.
    pub(super) fn forget(&self) {
        self.shared.lock().clear();
    }

    fn shared(&self, filter: &Filter, position: u64) -> Arc<SharedSegment> {
        let mut all = self.shared.lock();
        let key = (filter.clone(), position);
        if let Some(shared) = all.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        if all.len() == all.capacity() {
            all.retain(|_, shared| shared.strong_count() > 0);
            // Makes the next sweep come only after as many insertions as there are entries now.
            let kept = all.len();
            all.reserve(kept);
        }
        let shared = Arc::default();
        all.insert(key, Arc::downgrade(&shared));
        shared
    }

    async fn read(
        &self,
        filter: &Filter,
        position: u64,
    ) -> Result<Option<Segment>, Arc<StoreError>> {
        let _permit = self.permits.acquire().await;
        let recent = |at: &Instant| at.elapsed() < STORE_READ_PAUSE;
        if let Some((_, error)) = self.failed.lock().as_ref().filter(|(at, _)| recent(at)) {
            return Err(Arc::clone(error));
        }
        let erasures = self.erased.number();
        let result = read_segment(&*self.store, filter, position, erasures).await;
        let result = result.map_err(Arc::new);
        let failed = result.as_ref().err().map(|error| (Instant::now(), Arc::clone(error)));
        *self.failed.lock() = failed;
        result
    }
}

/// The rows after `position`, and the holes between them; `None` if the store has not reached beyond
/// `position`.
async fn read_segment(
    store: &dyn Store,
    filter: &Filter,
    position: u64,
    erasures: u64,
) -> Result<Option<Segment>, StoreError> {
    let page = store.page(&query(filter, position)).await?;
    if page.committed_through <= position {
        return Ok(None);
    }
    let through = page.next.unwrap_or(page.committed_through);
    let is_complete = through - position == page.messages.len() as u64;
    let holes = if is_complete {
        Vec::new()
    } else {
        store.holes(position + 1, through, REPLAY_HOLES).await?
    };
    let segment = merge(&page.messages, &holes, position, through);
    Ok(Some(Segment { erasures, ..segment }))
}

/// The query for the page after `position`. Without a filter, the page ends at a multiple of [`REPLAY_ROWS`],
/// so that readers that began at different positions soon read the same pages.
fn query(filter: &Filter, position: u64) -> Query {
    let rows = REPLAY_ROWS as u64;
    let limit = if filter.is_empty() { rows - position % rows } else { rows };
    let limit = usize::try_from(limit).unwrap_or(REPLAY_ROWS);
    Query { after: Some(position), ..Query::new(filter.clone(), limit, REPLAY_BYTES) }
}

/// Merges messages and holes in order. If there may be more holes than were read, the segment ends at the
/// last hole read.
fn merge(messages: &[Stored], holes: &[Hole], position: u64, through: u64) -> Segment {
    let through = match holes.last() {
        Some(last) if holes.len() == REPLAY_HOLES => last.to.min(through),
        _ => through,
    };
    let mut segment = SegmentBuilder::default();
    let mut holes = holes.iter().peekable();
    let add_gap = |hole: &Hole, segment: &mut SegmentBuilder| {
        let (from, to) = (hole.from.max(position + 1), hole.to.min(through));
        segment.gap(from, to, hole.reason.as_str());
    };
    for stored in messages.iter().filter(|stored| stored.seq <= through) {
        while let Some(hole) = holes.next_if(|hole| hole.from < stored.seq) {
            add_gap(hole, &mut segment);
        }
        segment.message(stored.seq, stored.kind, &stored.body);
    }
    for hole in holes {
        add_gap(hole, &mut segment);
    }
    segment.finish(through)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::item::Item;
    use super::*;
    use crate::message::Kind;
    use crate::store::HoleReason;
    use crate::store::sqlite::SqliteStore;

    fn stored(seq: u64) -> Stored {
        Stored { seq, kind: Kind::Task, body: Bytes::from_static(b"{}") }
    }

    fn shown(item: &Item) -> String {
        match item {
            Item::Messages(messages) => messages
                .json()
                .map(|json| serde_json::from_slice(json).expect("JSON"))
                .map(|message: serde_json::Value| message["seq"].to_string())
                .collect::<Vec<_>>()
                .join(" "),
            Item::Gap { from, to, .. } => format!("{from}-{to}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn holes_stand_where_they_are() {
        let hole = |from, to| Hole { from, to, reason: HoleReason::Expired };
        let messages = [stored(5), stored(9)];
        let segment = merge(&messages, &[hole(1, 4), hole(6, 8), hole(10, 20)], 2, 12);
        let shown: Vec<String> = segment.items.iter().map(shown).collect();
        assert_eq!(shown.join(" "), "3-4 5 6-8 9 10-12");
        assert_eq!(segment.position, 12);
    }

    #[test]
    fn readers_of_all_messages_come_to_read_the_same_pages() {
        let rows = REPLAY_ROWS as u64;
        let end = |position| position + query(&Filter::default(), position).limit as u64;
        assert_eq!((end(0), end(1), end(rows - 1)), (rows, rows, rows));
        assert_eq!(end(rows), 2 * rows);
    }

    #[tokio::test]
    async fn a_segment_is_shared_while_a_subscription_keeps_it() {
        let dir = std::env::temp_dir().join(format!("agentbus-replay-{}", uuid::Uuid::new_v4()));
        let store = SqliteStore::open(&dir).await.expect("SQLite opens");
        let replay = StoreReplay::new(Arc::new(store), Arc::default());
        let filter = Filter::default();
        let kept = replay.shared(&filter, 7);
        assert!(Arc::ptr_eq(&kept, &replay.shared(&filter, 7)));
        assert!(!Arc::ptr_eq(&kept, &replay.shared(&filter, 8)));
        drop(kept);
        for position in 0..10_000 {
            drop(replay.shared(&filter, position));
        }
        let entries = replay.shared.lock().len();
        assert!(entries < 100, "{entries} segments that are not kept");
        std::fs::remove_dir_all(dir).expect("the directory goes");
    }
}
