//! Makes and publishes plain messages, and reads a replay to its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::records::{Record, of_frames};
use super::{Http, Sse};

/// Time limit for whatever should come soon; generous, since the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Messages of one batch: the most that the contract allows.
const BATCH: usize = 1_000;

/// Plain message number `n`.
pub fn message(n: usize) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "writer", "content": format!("message {n}")})
}

/// Plain message number `n` whose content is `size` bytes long.
pub fn large(n: usize, size: usize) -> Value {
    let content = format!("{n:<size$}");
    json!({"kind": "message", "type": "large", "sender_id": "writer", "content": content})
}

/// Numbered plain messages.
pub fn messages(count: usize) -> Vec<Value> {
    (0..count).map(message).collect()
}

/// Publishes messages through the batch route, and returns their sequences; fails the test if one is refused.
pub async fn publish(http: &Http, messages: &[Value]) -> Vec<u64> {
    let mut seqs = Vec::with_capacity(messages.len());
    for batch in messages.chunks(BATCH) {
        let answer = http.post_ndjson("/v1/messages/batch", batch).await.expect(200).json();
        assert_eq!(answer["accepted"], batch.len(), "{answer}");
        let results = answer["results"].as_array().expect("results");
        seqs.extend(results.iter().map(|result| result["seq"].as_u64().expect("a sequence")));
    }
    seqs
}

/// Publishes one, and returns its sequence.
pub async fn publish_one(http: &Http, message: &Value) -> u64 {
    let answer = http.post_json("/v1/messages", message).await.expect(201).json();
    answer["seq"].as_u64().expect("a sequence")
}

/// Reads a replay up to its `caught_up`, and returns its messages and that event's `seq`.
pub async fn replay(stream: &mut Sse) -> (Vec<Record>, u64) {
    let frames = stream.until(LIMIT, |frame| frame.is("caught_up") || frame.is("gap")).await;
    let last = frames.last().expect("a frame");
    assert!(last.is("caught_up"), "{last:?}");
    assert_eq!(last.id, None, "caught_up has no id");
    (of_frames(&frames), last.json()["seq"].as_u64().expect("a sequence"))
}
