//! No filter panics, and equal filters find the same messages.
#![no_main]

use agentbus::message::{Filter, Raw, Subject, decode};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(u8, String)>, String, Vec<u8>)| {
    const NAMES: [&str; 9] = [
        "subject", "kind", "type", "sender", "recipient", "task", "conversation", "in_reply_to", "broadcast",
    ];
    let (params, tokens, payload) = input;
    let mut filter = Filter::default();
    for (name, value) in &params {
        let _ = filter.offer(NAMES[usize::from(*name) % NAMES.len()], value);
    }
    let raw = Raw {
        seq: 1,
        subject: Subject::from_log(format!("agent.{tokens}")),
        headers: Vec::new(),
        payload: Bytes::from(payload),
        logged_at: chrono::DateTime::UNIX_EPOCH,
    };
    let record = decode(raw, "log");
    let tidy = filter.clone().normalised();
    assert_eq!(filter.matches(&record), tidy.matches(&record));
    let _ = tidy.keys();
});
