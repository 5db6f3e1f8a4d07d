//! The SSE frame of a message (WHATWG HTML, section 9.2; contract, section 4).
//!
//! Invariant: a body holds no line break. So a frame is three lines and a blank one: `id:` with the sequence,
//! `event:` with the kind, and one `data:` line. All other SSE text is made in `http`.

use bytes::Bytes;

use crate::erased::Erased;
use crate::message::{Kind, erase, splice_seq};

const ID: &[u8] = b"id: ";
const DATA: &[u8] = b"data: ";

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
    out.extend_from_slice(ID);
    out.extend_from_slice(seq.to_string().as_bytes());
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(DATA);
    splice_seq(seq, body, out);
    out.extend_from_slice(b"\n\n");
}

/// The frames, with those of erased messages in their erased form.
pub(super) fn shown(frames: &[u8], erased: &Erased) -> Bytes {
    let mut out = Vec::with_capacity(frames.len());
    let mut is_erased = false;
    for line in frames.split_inclusive(|byte| *byte == b'\n') {
        if let Some(id) = line.strip_prefix(ID) {
            let seq = std::str::from_utf8(id.trim_ascii_end()).ok().and_then(|id| id.parse().ok());
            is_erased = seq.is_some_and(|seq| erased.contains(seq));
        }
        match line.strip_prefix(DATA).filter(|_| is_erased) {
            Some(body) => {
                out.extend_from_slice(DATA);
                out.extend_from_slice(&erase(body.trim_ascii_end()));
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn erased_messages_are_shown_erased_and_all_others_as_they_are() {
        let frames = |content: [&str; 3]| {
            let mut out = Vec::new();
            for (seq, content) in (8..).zip(content) {
                let body = match content {
                    "" => r#"{"id":"x","content":"","metadata":{"erased":true}}"#.to_owned(),
                    _ => format!(r#"{{"id":"x","content":"{content}","metadata":{{"id: 8":1}}}}"#),
                };
                write_message(seq, Kind::Task, body.as_bytes(), &mut out);
            }
            out
        };
        let erased = Erased::default();
        assert_eq!(shown(&frames(["a", "b", "c"]), &erased), frames(["a", "b", "c"]));
        erased.add(&[7, 9]);
        let once = shown(&frames(["a", "b", "c"]), &erased);
        assert_eq!(once, frames(["a", "", "c"]));
        assert_eq!(shown(&once, &erased), once);
    }

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
