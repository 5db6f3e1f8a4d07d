//! SSE frames of the items of a subscription (WHATWG HTML, section 9.2; contract, section 4).
//!
//! Invariant: only messages, `ready` and heartbeats carry an `id`. If the `Last-Event-ID` of a client moved
//! on any other event, the client would skip messages when it resumes. Messages arrive here as encoded frames
//! that all streams share.

use bytes::Bytes;

use crate::limits::RETRY_MILLIS;
use crate::services::streams::Item;

/// The frames of one item.
pub(super) fn encode(item: Item) -> Bytes {
    match item {
        Item::Ready { position, head, first, replaying } => {
            ready(retry_millis(), position, head, first, replaying)
        }
        Item::Messages(messages) => messages.into_frames(),
        Item::Gap { from, to, reason } => gap(from, to, reason),
        Item::CaughtUp { position } => caught_up(position),
        Item::Heartbeat { position: Some(position) } => heartbeat(position),
        Item::Heartbeat { position: None } => comment(),
        Item::Denied { code } => denied(code),
    }
}

/// How long a browser waits before it reconnects, in milliseconds: random between half and one and a half
/// times [`RETRY_MILLIS`], so that clients do not all reconnect at once.
#[must_use]
pub fn retry_millis() -> u64 {
    RETRY_MILLIS / 2 + fastrand::u64(0..RETRY_MILLIS)
}

/// The first event of a subscription, which sends only messages above `position`. For `retry` see
/// [`retry_millis`].
#[must_use]
pub fn ready(retry: u64, position: u64, head: u64, first: u64, replaying: bool) -> Bytes {
    Bytes::from(format!(
        "retry: {retry}\nid: {position}\nevent: ready\ndata: {{\"head\":{head},\"first\":{first},\"replaying\":{replaying}}}\n\n"
    ))
}

/// A range of sequences that the client requested and that neither bus nor store has; both bounds are
/// inclusive.
#[must_use]
pub fn gap(from: u64, to: u64, reason: &str) -> Bytes {
    Bytes::from(format!(
        "event: gap\ndata: {{\"from\":{from},\"to\":{to},\"reason\":\"{reason}\"}}\n\n"
    ))
}

/// The event after a replay, when the stream has reached the head that `ready` named.
#[must_use]
pub fn caught_up(position: u64) -> Bytes {
    Bytes::from(format!("event: caught_up\ndata: {{\"seq\":{position}}}\n\n"))
}

/// A heartbeat with the position of the subscription. It has no data, so a browser dispatches no event, but
/// moves its `Last-Event-ID` past the messages that the filter skipped. The event name shows other clients
/// that it is no message.
#[must_use]
pub fn heartbeat(position: u64) -> Bytes {
    Bytes::from(format!("id: {position}\nevent: heartbeat\n\n"))
}

/// The only frame of a stream that cannot be served now: the client reconnects after `retry` milliseconds.
#[must_use]
pub fn unavailable(retry: u64) -> Bytes {
    Bytes::from(format!("retry: {retry}\nevent: unavailable\n\n"))
}

/// The last event of a stream whose credential has ended: `revoked` or `expired`. Without a valid credential it
/// cannot be resumed.
#[must_use]
pub fn denied(code: &str) -> Bytes {
    Bytes::from(format!("event: denied\ndata: {{\"code\":\"{code}\"}}\n\n"))
}

/// A comment, which clients ignore: the heartbeat before the subscription has a position.
#[must_use]
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}
