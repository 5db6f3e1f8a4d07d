//! Server-Sent Event frames (WHATWG HTML, section 9.2; contract, section 4).
//!
//! Invariant: a body holds no line break, so a frame is one `data:` line, and
//! only message frames, `ready` and heartbeats carry an `id`: a cursor that
//! moved on a control event would skip messages on resume.

use bytes::Bytes;

use crate::limits::RETRY_MILLIS;
use crate::message::{Kind, splice_seq};

/// What a frame has beside its body, at most.
const FRAME_BYTES: usize = 80;

/// A message: its sequence as the id, its kind as the event.
pub fn message(seq: u64, kind: Kind, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + FRAME_BYTES);
    write_message(seq, kind, body, &mut out);
    Bytes::from(out)
}

/// The same, at the end of others.
pub fn write_message(seq: u64, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(seq.to_string().as_bytes());
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    splice_seq(seq, body, out);
    out.extend_from_slice(b"\n\n");
}

/// How long a browser waits before it reconnects, in milliseconds: not all alike, so that they do not come at once.
pub fn retry_millis() -> u64 {
    RETRY_MILLIS / 2 + fastrand::u64(0..RETRY_MILLIS)
}

/// The connection stands; nothing at or below `cursor` is owed. `retry`: how long a browser waits before it
/// reconnects, in milliseconds.
pub fn ready(retry: u64, cursor: u64, head: u64, first: u64, replaying: bool) -> Bytes {
    Bytes::from(format!(
        "retry: {retry}\nid: {cursor}\nevent: ready\ndata: {{\"head\":{head},\"first\":{first},\"replaying\":{replaying}}}\n\n"
    ))
}

/// Sequences that were asked for and nobody holds, bounds inclusive.
pub fn gap(from: u64, to: u64, reason: &str) -> Bytes {
    Bytes::from(format!(
        "event: gap\ndata: {{\"from\":{from},\"to\":{to},\"reason\":\"{reason}\"}}\n\n"
    ))
}

/// Replay has met the live edge.
pub fn caught_up(seq: u64) -> Bytes {
    Bytes::from(format!("event: caught_up\ndata: {{\"seq\":{seq}}}\n\n"))
}

/// How far this connection has scanned. Browsers dispatch nothing for it but
/// move their cursor past what the filter skipped. Clients that show blocks without data see by the name
/// that it is no message.
pub fn heartbeat(cursor: u64) -> Bytes {
    Bytes::from(format!("id: {cursor}\nevent: heartbeat\n\n"))
}

/// No stream now: come back after so many milliseconds.
pub fn unavailable(retry: u64) -> Bytes {
    Bytes::from(format!("retry: {retry}\nevent: unavailable\n\n"))
}

/// A sign of life before there is a cursor to tell.
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_frame_reads_back_as_one_event(seq in 1..=(1_u64 << 53), text in "[^\u{0}]{0,80}") {
            let body = format!(r#"{{"id":"x","content":{}}}"#, serde_json::json!(text));
            let frame = message(seq, Kind::Task, body.as_bytes());
            let text = std::str::from_utf8(&frame).expect("UTF-8");
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert_eq!(lines.len(), 5);
            prop_assert_eq!(lines[0], format!("id: {seq}"));
            prop_assert_eq!(lines[1], "event: task");
            let data = lines[2].strip_prefix("data: ").expect("data");
            let read: serde_json::Value = serde_json::from_str(data).expect("JSON");
            prop_assert_eq!(read["seq"].as_u64(), Some(seq));
            let head = format!("{{\"seq\":{seq},\"id\"");
            prop_assert!(data.starts_with(&head));
            prop_assert_eq!((lines[3], lines[4]), ("", ""));
        }
    }
}
