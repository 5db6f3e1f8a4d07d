//! The content of one write: rows, and the holes between them (sequences that the log skipped).

use super::log::{Hole, HoleReason};
use crate::limits::{PROJECT_BYTES, PROJECT_ROWS};
use crate::message::{LogEntry, Record, decode};

/// Rows in rising sequence. Every sequence between two of them is in a hole.
pub struct Batch {
    /// The watermark before the write.
    pub after: u64,
    /// The rows.
    pub records: Vec<Record>,
    /// The sequences that the log skipped.
    pub holes: Vec<Hole>,
    bytes: usize,
}

impl Batch {
    /// An empty batch that begins after this sequence.
    #[must_use]
    pub fn after(after: u64) -> Self {
        Self { after, records: Vec::new(), holes: Vec::new(), bytes: 0 }
    }

    /// The watermark after the write.
    #[must_use]
    pub fn through(&self) -> u64 {
        self.records.last().map_or(self.after, |record| record.seq)
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether the batch may grow within the limits of one write.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.records.len() < PROJECT_ROWS && self.bytes < PROJECT_BYTES
    }

    /// Adds the entries whose sequences are above those of the batch. Sequences that the log skipped become
    /// holes.
    pub fn extend(&mut self, entries: Vec<LogEntry>, log_name: &str) {
        for raw in entries {
            if raw.seq > self.through() {
                self.push(decode(raw, log_name));
            }
        }
    }

    /// Adds a record whose sequence is above those of the batch. The sequences that the log skipped before it
    /// become a hole.
    pub fn push(&mut self, record: Record) {
        let expected = self.through() + 1;
        if record.seq > expected {
            let (from, to, reason) = (expected, record.seq - 1, HoleReason::Expired);
            self.holes.push(Hole { from, to, reason });
        }
        self.bytes += record.body.len();
        self.records.push(record);
    }

    /// Adds a record of another log under the next sequence. The record keeps its id and content.
    pub fn append(&mut self, mut record: Record) {
        record.seq = self.through() + 1;
        self.bytes += record.body.len();
        self.records.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Subject;
    use bytes::Bytes;

    fn raw(seq: u64) -> LogEntry {
        LogEntry {
            seq,
            subject: Subject::from_log("agent.status.a.b".to_owned()),
            headers: Vec::new(),
            payload: Bytes::from_static(b"x"),
            logged_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn every_sequence_is_a_row_or_in_a_hole() {
        let mut batch = Batch::after(10);
        batch.extend(vec![raw(9), raw(10), raw(13), raw(14)], "log");
        batch.extend(vec![raw(14), raw(16)], "log");
        let rows: Vec<u64> = batch.records.iter().map(|r| r.seq).collect();
        let holes: Vec<_> = batch.holes.iter().map(|h| (h.from, h.to)).collect();
        assert_eq!((rows, holes), (vec![13, 14, 16], vec![(11, 12), (15, 15)]));
        assert_eq!(batch.through(), 16);
    }
}
