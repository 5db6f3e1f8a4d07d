//! Reads the memory bus in order: from its tail (the newest entries, in memory) if that has the next entry,
//! else from the journal.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::shared::Shared;
use crate::bus::{BusError, Reader};
use crate::limits::READ_ENTRIES;
use crate::message::LogEntry;

pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    last: watch::Receiver<u64>,
    next: u64,
}

impl MemoryReader {
    pub(super) fn new(shared: Arc<Shared>, from: u64) -> Self {
        let last = shared.last.subscribe();
        Self { shared, last, next: from }
    }
}

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self) -> Result<Vec<LogEntry>, BusError> {
        loop {
            let next = self.next;
            self.last
                .wait_for(|last| *last >= next)
                .await
                .map_err(|_| BusError("the bus has stopped".to_owned()))?;
            let entries = match self.shared.tail.from(next, READ_ENTRIES) {
                Some(entries) => entries,
                None => self
                    .shared
                    .journal
                    .read(next, READ_ENTRIES)
                    .await
                    .map_err(|e| BusError(e.to_string()))?,
            };
            if let Some(newest) = entries.last() {
                self.next = newest.seq + 1;
                return Ok(entries);
            }
            // The log holds nothing between `next` and its end: a switch from another bus skipped these
            // sequences.
            self.next = *self.last.borrow() + 1;
        }
    }
}
