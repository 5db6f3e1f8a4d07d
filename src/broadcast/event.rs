//! One event of the live stream, encoded once.

use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use crate::message::Record;

/// A message and its frame.
#[derive(Debug)]
pub(super) struct Event {
    /// Its sequence.
    pub(super) seq: u64,
    /// What filters look at.
    pub(super) record: Record,
    /// The SSE frame.
    pub(super) frame: Bytes,
}

impl Event {
    pub(super) fn new(record: Record) -> Arc<Self> {
        let frame = frame::message(record.seq, record.kind, &record.body);
        Arc::new(Self { seq: record.seq, record, frame })
    }
}
