//! Messages as readers get them, with their exact bytes, from a stream or from pages of history.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::wire;
use super::{Frame, Http, Sse};

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The sequence of the message.
    pub seq: u64,
    /// The whole message, byte for byte.
    pub bytes: Bytes,
}

impl Record {
    /// The message in a frame; fails the test unless id, event and message agree.
    pub fn of(frame: &Frame) -> Self {
        let record = Self::of_foreign(frame);
        assert_eq!(
            record.json()["kind"].as_str(),
            frame.event.as_deref(),
            "not the kind: {frame:?}"
        );
        record
    }

    /// Like [`Record::of`], for a message that another NATS client published: it may lack a kind, or have
    /// one that is no text.
    pub fn of_foreign(frame: &Frame) -> Self {
        let bytes = frame.data.clone().unwrap_or_else(|| panic!("no data: {frame:?}"));
        let record = Self::from(bytes);
        assert_eq!(record.seq, frame.seq(), "the id is not the sequence: {frame:?}");
        if let Some(kind) = record.json()["kind"].as_str() {
            assert!(frame.is(kind), "the event's name is not the kind: {frame:?}");
        }
        record
    }

    /// The message as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("a message is JSON")
    }

    /// The message as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("a message is UTF-8")
    }
}

/// Fails the test unless the bytes are a message: UTF-8, JSON, with the sequence first.
impl From<Bytes> for Record {
    fn from(bytes: Bytes) -> Self {
        let mut record = Self { seq: 0, bytes };
        let seq = record.json()["seq"].as_u64().expect("a message has a sequence");
        let text = record.text();
        assert!(text.starts_with(&format!("{{\"seq\":{seq}")), "seq is not first: {text:.200}");
        record.seq = seq;
        record
    }
}

/// The messages in frames that carry one.
pub fn of_frames(frames: &[Frame]) -> Vec<Record> {
    frames.iter().filter(|frame| frame.is_message()).map(Record::of).collect()
}

/// The next messages of a stream.
pub async fn take(stream: &mut Sse, count: usize, limit: Duration) -> Vec<Record> {
    of_frames(&stream.collect_messages(count, limit).await)
}

/// All messages of history that `query` selects, ascending.
pub async fn history(http: &Http, query: &str) -> Vec<Record> {
    pages(http, query, 1_000).await
}

/// Like [`history`], in pages of `limit`.
pub async fn pages(http: &Http, query: &str, limit: usize) -> Vec<Record> {
    let bodies = wire::pages(http, &format!("limit={limit}&{query}")).await;
    bodies.into_iter().map(|body| Record::from(Bytes::from(body))).collect()
}

/// The sequences of messages.
pub fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

/// Fails the test unless both have the same messages with the same bytes. Shows only the first difference,
/// since messages are long.
#[track_caller]
pub fn assert_same(what: &str, found: &[Record], expected: &[Record]) {
    let both = found.len().min(expected.len());
    if let Some(at) = (0..both).find(|&at| found[at] != expected[at]) {
        panic!("{what}: at {at}: {:?}, and not {:?}", found[at], expected[at]);
    }
    let (more, fewer) = (found.get(both), expected.get(both));
    assert!(more.is_none() && fewer.is_none(), "{what}: too many {more:?} or missing {fewer:?}");
}
