//! The SSE frame of a message (WHATWG HTML, section 9.2; contract, section 4).
//!
//! Invariant: a body holds no line break. So a frame is three lines and a blank one: `id:` with the sequence,
//! `event:` with the kind, and one `data:` line. All other SSE text is made in `http`.

use bytes::Bytes;

use crate::message::{Kind, splice_seq};

/// The most bytes of a frame in addition to its body.
pub(super) const FRAME_BYTES: usize = 80;

/// The frame of a message: the id is its sequence, the event name its kind.
#[must_use]
pub fn message(seq: u64, kind: Kind, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + FRAME_BYTES);
    write_message(seq, kind, body, &mut out);
    Bytes::from(out)
}

/// Appends the frame of a message to `out`.
pub(super) fn write_message(seq: u64, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(seq.to_string().as_bytes());
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    splice_seq(seq, body, out);
    out.extend_from_slice(b"\n\n");
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
