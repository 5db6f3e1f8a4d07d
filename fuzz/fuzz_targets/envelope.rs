//! Whatever bytes arrive, by HTTP or on the stream, become one line of JSON or
//! a named error, and nothing panics.
#![no_main]

use agentbus::message::{Draft, Raw, Subject, decode, splice_seq};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, String, Vec<u8>)| {
    let (marked, tokens, payload) = input;
    let _ = Draft::parse(&payload);
    let headers = if marked { vec![("Agentbus".to_owned(), "1".to_owned())] } else { Vec::new() };
    let raw = Raw {
        seq: 7,
        subject: Subject::from_log(format!("agent.task.{tokens}")),
        headers,
        payload: Bytes::from(payload),
        logged_at: chrono::DateTime::UNIX_EPOCH,
    };
    let record = decode(raw.clone(), "log");
    assert_eq!(record.body, decode(raw, "log").body);
    let mut spliced = Vec::new();
    splice_seq(7, &record.body, &mut spliced);
    assert!(!spliced.contains(&b'\n') && !spliced.contains(&b'\r'));
    let read: serde_json::Value = match serde_json::from_slice(&spliced) {
        Ok(read) => read,
        // A marked body is taken byte for byte: its numbers and its depth may be
        // more than a reader of values can take.
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("recursion limit") || text.contains("out of range") || text.contains("surrogate")
                || text.contains("hex escape"), "{text}");
            return;
        }
    };
    assert_eq!(read["seq"], 7);
});
