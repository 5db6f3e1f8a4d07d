//! Bodies of clients and entries of the log: one line of JSON, or errors that name the member.
//!
//! Input: a line with the end of a subject, preceded by `!` if the entry has the header of agentbus; then the payload.

use agentbus::limits::MAX_NAMED_ERRORS;
use agentbus::message::{
    BodyError, Draft, HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry, Outgoing, Subject, decode,
    equal_as_posted, splice_seq,
};
use bytes::Bytes;
use chrono::DateTime;

/// Runs it once.
pub fn run(input: &[u8]) {
    let (line, payload) = super::split_line(input);
    post(payload);
    let (marked, tokens) = match line.strip_prefix(b"!") {
        Some(tokens) => (true, tokens),
        None => (false, line),
    };
    let headers = match marked {
        true => vec![(HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned())],
        false => Vec::new(),
    };
    read(LogEntry {
        seq: 7,
        subject: Subject::from_log(format!("agent.{}", String::from_utf8_lossy(tokens))),
        headers,
        payload: Bytes::copy_from_slice(payload),
        logged_at: DateTime::UNIX_EPOCH,
    });
}

/// A client's body: encoded, it decodes to the same message.
fn post(payload: &[u8]) {
    let draft = match Draft::parse(payload) {
        Ok(draft) => draft,
        Err(BodyError::Syntax { .. }) => return,
        Err(BodyError::Invalid(errors)) => {
            assert!((1..=MAX_NAMED_ERRORS).contains(&errors.len()), "{errors:?}");
            return;
        }
    };
    let encode = || Outgoing::encode(&draft, uuid::Uuid::max(), DateTime::UNIX_EPOCH);
    let message = encode();
    assert_eq!(message.body, encode().body);
    assert!(equal_as_posted(&message.body, &encode().body));
    let ours = vec![(HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned())];
    let raw = LogEntry {
        seq: 7,
        subject: message.subject.clone(),
        headers: ours,
        payload: message.body.clone(),
        logged_at: DateTime::UNIX_EPOCH,
    };
    let record = decode(raw, "log");
    assert_eq!(record.body, message.body, "an envelope of agentbus is taken byte for byte");
    assert_eq!((record.id, &record.sender_id), (message.id, draft.sender_id()));
    assert_eq!(record.subject, draft.subject());
    assert_eq!(record.created_at, message.created_at);
}

/// An entry of the log, whoever wrote it.
fn read(raw: LogEntry) {
    let record = decode(raw.clone(), "log");
    assert_eq!(record.body, decode(raw, "log").body);
    let mut spliced = Vec::new();
    splice_seq(7, &record.body, &mut spliced);
    assert!(!spliced.contains(&b'\n') && !spliced.contains(&b'\r'));
    match serde_json::from_slice::<serde_json::Value>(&spliced) {
        Ok(read) => assert_eq!(read["seq"], 7),
        // An envelope with the header is taken byte for byte: its numbers and its depth may exceed what serde_json
        // values can hold.
        Err(error) => {
            let text = error.to_string();
            let known = ["recursion limit", "out of range", "surrogate", "hex escape"];
            assert!(known.iter().any(|known| text.contains(known)), "{text}");
        }
    }
}
