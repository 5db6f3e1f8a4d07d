//! What a subscription yields, for a surface to encode.

use bytes::Bytes;

/// One item of a subscription. A client gets them in this order; each has the position of the subscription after it.
#[derive(Clone, Debug)]
pub enum Item {
    /// The subscription has begun. It owes nothing at or below `position`.
    Ready {
        /// The position at which it begins.
        position: u64,
        /// The newest sequence of the log.
        head: u64,
        /// The oldest sequence that is kept.
        first: u64,
        /// Whether messages up to `head` follow, and then [`Item::CaughtUp`].
        replaying: bool,
    },
    /// Messages that pass the filter, in the order of the log.
    Messages(Messages),
    /// Sequences that the client asked for and that neither bus nor store holds, bounds inclusive.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// Why (contract, section 4).
        reason: &'static str,
    },
    /// The replay has reached the head that [`Item::Ready`] named.
    CaughtUp {
        /// The position of the subscription.
        position: u64,
    },
    /// Sent after [`HEARTBEAT`](crate::limits::HEARTBEAT) of silence, so that the client sees that the connection works.
    Heartbeat {
        /// The position of the subscription, past messages that its filter skipped; `None` before it has begun.
        position: Option<u64>,
    },
}

impl Item {
    /// Bytes that the item keeps in memory for its client.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Messages(Messages(frames)) => frames.len(),
            _ => 0,
        }
    }
}

/// Consecutive messages of a subscription, encoded once as SSE frames that all subscriptions share.
#[derive(Clone, Debug)]
pub struct Messages(pub(super) Bytes);

impl Messages {
    /// The SSE frames (see [`frame`](super::frame)), in one piece.
    #[must_use]
    pub fn into_frames(self) -> Bytes {
        self.0
    }

    /// Each message as JSON: its envelope, `seq` included, on one line.
    pub fn json(&self) -> impl Iterator<Item = &[u8]> {
        // A body holds no line break, so each frame has one `data:` line.
        self.0.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "))
    }
}
