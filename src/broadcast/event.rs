//! One event of the live stream, encoded once, and runs of them, joined once.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

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

/// Events that follow on each other in a group, for all who take them from the same place.
#[derive(Debug)]
pub(super) struct Run {
    events: Vec<Arc<Event>>,
    joined: OnceLock<Bytes>,
}

impl Run {
    pub(super) fn new(events: Vec<Arc<Event>>) -> Arc<Self> {
        Arc::new(Self { events, joined: OnceLock::new() })
    }

    /// Their frames in one piece; `None` when there are no events.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        match &self.events[..] {
            [] => None,
            [one] => Some(one.frame.clone()),
            many => Some(self.joined.get_or_init(|| join(many)).clone()),
        }
    }
}

fn join(events: &[Arc<Event>]) -> Bytes {
    let mut joined = Vec::with_capacity(events.iter().map(|event| event.frame.len()).sum());
    events.iter().for_each(|event| joined.extend_from_slice(&event.frame));
    Bytes::from(joined)
}

impl Deref for Run {
    type Target = [Arc<Event>];

    fn deref(&self) -> &Self::Target {
        &self.events
    }
}
