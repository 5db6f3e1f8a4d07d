//! One event of the live stream, encoded once.

use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use crate::message::{Filter, Record};
use crate::store::{Hole, HoleReason};

/// A message, or a run of sequences that the log does not hold.
#[derive(Debug)]
pub(super) struct Event {
    /// The (last) sequence it stands for.
    pub(super) seq: u64,
    /// What filters look at; `None` for a gap, which is told to everybody.
    pub(super) record: Option<Record>,
    /// The SSE frame.
    pub(super) frame: Bytes,
}

impl Event {
    pub(super) fn message(record: Record) -> Arc<Self> {
        let frame = frame::message(record.seq, record.kind, &record.body);
        Arc::new(Self { seq: record.seq, record: Some(record), frame })
    }

    pub(super) fn gap(from: u64, to: u64) -> Arc<Self> {
        let hole = Hole { from, to, reason: HoleReason::Expired };
        let frame = frame::gap(hole.from, hole.to, hole.reason.as_str());
        Arc::new(Self { seq: to, record: None, frame })
    }

    pub(super) fn passes(&self, filter: &Filter) -> bool {
        self.record.as_ref().is_none_or(|record| filter.matches(record))
    }
}
