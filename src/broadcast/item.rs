//! The items of a subscription, which the caller encodes for its client.

use bytes::Bytes;

use super::frame;
use crate::erased::Erased;

/// One item of a subscription. A client gets items in order. The position in an item is that of the
/// subscription after the item.
#[derive(Clone, Debug)]
pub enum Item {
    /// The subscription has begun. Messages up to `position` will not be sent.
    Ready {
        /// The position at which it begins.
        position: u64,
        /// The newest sequence of the log at this moment.
        head: u64,
        /// The oldest sequence that is still kept.
        first: u64,
        /// Whether a replay up to `head` follows, which [`Item::CaughtUp`] ends.
        replaying: bool,
    },
    /// Messages that pass the filter, in the order of the log.
    Messages(Messages),
    /// Sequences that the client asked for and that neither bus nor store holds.
    Gap {
        /// The first missing sequence.
        from: u64,
        /// The last missing sequence.
        to: u64,
        /// Why they are missing (contract, section 4).
        reason: &'static str,
    },
    /// The position has reached the `head` that [`Item::Ready`] named.
    CaughtUp {
        /// The position of the subscription.
        position: u64,
    },
    /// Sent after [`HEARTBEAT`](crate::limits::HEARTBEAT) without an item, so that the client sees that the
    /// connection works.
    Heartbeat {
        /// The position of the subscription, which is past messages that its filter skipped; `None` before it
        /// has begun.
        position: Option<u64>,
    },
    /// The last item: the credential of the subscription has ended.
    Denied {
        /// How it has ended: `revoked` or `expired` (contract, section 11).
        code: &'static str,
    },
}

impl Item {
    /// The item, with erased messages in their erased form.
    pub(super) fn shown(self, erased: &Erased) -> Self {
        match self {
            Self::Messages(Messages(frames)) => {
                Self::Messages(Messages(frame::shown(&frames, erased)))
            }
            other => other,
        }
    }

    /// The bytes that the item keeps in memory until its client has taken them.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Messages(Messages(frames)) => frames.len(),
            _ => 0,
        }
    }
}

/// Consecutive messages of a subscription, as SSE frames. The bytes are shared by all subscriptions that send
/// them.
#[derive(Clone, Debug)]
pub struct Messages(pub(super) Bytes);

impl Messages {
    /// The SSE frames (see [`frame`](super::frame)), joined.
    #[must_use]
    pub fn into_frames(self) -> Bytes {
        self.0
    }

    /// Each message as JSON on one line: its envelope, with `seq`.
    pub fn json(&self) -> impl Iterator<Item = &[u8]> {
        // No body holds a line break, so each frame has exactly one `data:` line.
        self.0.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "))
    }
}
