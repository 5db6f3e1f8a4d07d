//! Events of the ring, each encoded once, and runs of consecutive events, each joined once.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::frame::{self, FRAME_BYTES};
use super::item::Messages;
use crate::message::Record;

/// A message in the ring. Its SSE frame is made when a subscription first needs it.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) record: Record,
    frame: OnceLock<Bytes>,
}

impl Event {
    pub(super) fn new(record: Record) -> Arc<Self> {
        Arc::new(Self { record, frame: OnceLock::new() })
    }

    pub(super) fn seq(&self) -> u64 {
        self.record.seq
    }

    /// The most bytes that the frame can take.
    pub(super) fn bytes(&self) -> usize {
        self.record.body.len() + FRAME_BYTES
    }

    fn frame(&self) -> &Bytes {
        let Record { seq, kind, body, .. } = &self.record;
        self.frame.get_or_init(|| frame::message(*seq, *kind, body))
    }
}

/// Consecutive events of a group. Members that read from the same position share the run.
#[derive(Debug)]
pub(super) struct Run {
    events: Vec<Arc<Event>>,
    joined: OnceLock<Bytes>,
}

impl Run {
    pub(super) fn new(events: Vec<Arc<Event>>) -> Arc<Self> {
        Arc::new(Self { events, joined: OnceLock::new() })
    }

    /// The frames of the events, joined; `None` if there are no events.
    pub(super) fn messages(&self) -> Option<Messages> {
        let frames = match &self.events[..] {
            [] => return None,
            [one] => one.frame(),
            many => self.joined.get_or_init(|| join(many)),
        };
        Some(Messages(frames.clone()))
    }
}

fn join(events: &[Arc<Event>]) -> Bytes {
    let mut joined = Vec::with_capacity(events.iter().map(|event| event.frame().len()).sum());
    events.iter().for_each(|event| joined.extend_from_slice(event.frame()));
    Bytes::from(joined)
}

impl Deref for Run {
    type Target = [Arc<Event>];

    fn deref(&self) -> &Self::Target {
        &self.events
    }
}
