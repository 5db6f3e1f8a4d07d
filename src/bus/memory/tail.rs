//! The tail: the newest entries of the memory bus, for readers near the end of the log.
//!
//! Invariant: the entries follow each other in the log, and are bounded in number and bytes. Older entries
//! are read from the journal.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::limits::{MEMORY_TAIL_BYTES, MEMORY_TAIL_ENTRIES};
use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry};

#[derive(Default)]
pub(super) struct Tail(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    queue: VecDeque<LogEntry>,
    bytes: usize,
}

impl Tail {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }

    pub(super) fn push(&self, entries: Vec<LogEntry>) {
        let mut kept = self.lock();
        for raw in entries {
            kept.bytes += raw.payload.len();
            kept.queue.push_back(raw);
        }
        while kept.queue.len() > MEMORY_TAIL_ENTRIES || kept.bytes > MEMORY_TAIL_BYTES {
            let Some(oldest) = kept.queue.pop_front() else { break };
            kept.bytes -= oldest.payload.len();
        }
    }

    /// Puts the erased form in the place of an entry, as the journal will return it.
    pub(super) fn erase(&self, seq: u64, id: Uuid, erased: &Bytes) {
        let mut guard = self.lock();
        let kept = &mut *guard;
        let found = kept.queue.binary_search_by_key(&seq, |entry| entry.seq);
        if let Some(entry) = found.ok().and_then(|at| kept.queue.get_mut(at)) {
            kept.bytes = kept.bytes - entry.payload.len() + erased.len();
            entry.payload = erased.clone();
            entry.headers = vec![
                (HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned()),
                (HEADER_MSG_ID.to_owned(), id.to_string()),
            ];
        }
    }

    /// Entries from sequence `from` on; `None` if the tail no longer has that sequence.
    pub(super) fn from(&self, from: u64, limit: usize) -> Option<Vec<LogEntry>> {
        let kept = self.lock();
        if kept.queue.front()?.seq > from {
            return None;
        }
        let start = kept.queue.partition_point(|raw| raw.seq < from);
        Some(kept.queue.range(start..).take(limit).cloned().collect())
    }

    /// Whether any entry after sequence `after` is `wanted`; `None` if the tail no longer has all of them.
    pub(super) fn any_after(&self, after: u64, wanted: impl Fn(&LogEntry) -> bool) -> Option<bool> {
        let kept = self.lock();
        if kept.queue.front()?.seq > after.saturating_add(1) {
            return None;
        }
        let start = kept.queue.partition_point(|raw| raw.seq <= after);
        Some(kept.queue.range(start..).any(wanted))
    }

    pub(super) fn get(&self, seq: u64) -> Option<LogEntry> {
        self.from(seq, 1)?.pop().filter(|raw| raw.seq == seq)
    }
}
