//! A segment is a part of a replay: the items after a position that is older than the ring.

use bytes::Bytes;

use super::frame;
use super::item::{Item, Messages};
use crate::limits::CHUNK_BYTES;
use crate::message::Kind;

/// Items of a replay. Messages are joined to pieces of about [`CHUNK_BYTES`], the size that a connection
/// takes at once.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) items: Vec<Item>,
    /// The position of the subscription after the items.
    pub(super) position: u64,
    /// The number of erasures when the reading of it began; 0 if that is not known.
    pub(super) erasures: u64,
}

impl Segment {
    pub(super) fn bytes(&self) -> usize {
        self.items.iter().map(Item::bytes).sum()
    }
}

/// Builds a segment from messages and gaps, added in the order of the log.
#[derive(Default)]
pub(super) struct SegmentBuilder {
    items: Vec<Item>,
    frames: Vec<u8>,
}

impl SegmentBuilder {
    pub(super) fn message(&mut self, seq: u64, kind: Kind, body: &[u8]) {
        if self.frames.capacity() == 0 {
            self.frames.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
        }
        frame::write_message(seq, kind, body, &mut self.frames);
        if self.frames.len() >= CHUNK_BYTES {
            self.close();
        }
    }

    pub(super) fn gap(&mut self, from: u64, to: u64, reason: &'static str) {
        self.close();
        self.items.push(Item::Gap { from, to, reason });
    }

    pub(super) fn finish(mut self, position: u64) -> Segment {
        self.close();
        Segment { items: self.items, position, erasures: 0 }
    }

    fn close(&mut self) {
        if !self.frames.is_empty() {
            let mut frames = std::mem::take(&mut self.frames);
            frames.shrink_to_fit();
            self.items.push(Item::Messages(Messages(Bytes::from(frames))));
        }
    }
}
