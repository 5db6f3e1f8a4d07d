//! A command for a processor that writes down each attempt, and readers of the state of its consumer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Agentbus, Http, eventually};

pub const LIMIT: Duration = Duration::from_secs(30);
/// Time limit for a redelivery: the ack wait, and time for what follows.
pub const REDELIVERY: Duration = Duration::from_secs(60);

/// Writes each attempt to the file `RAN`, by default `ran` in the working directory. The content of the
/// message decides the outcome.
pub const COMMAND: &str = r#"
read -r line
echo "$AGENTBUS_SEQ $AGENTBUS_ATTEMPT" >> "${RAN:-ran}"
case "$line" in
    *'"content":"busy"'*) echo not now >&2; exit 75 ;;
    *'"content":"bad"'*) echo no such thing >&2; exit 3 ;;
    *'"content":"second time"'*) [ "$AGENTBUS_ATTEMPT" -gt 1 ] || exit 75 ;;
    *'"content":"slow"'*) sleep 600 ;;
esac
"#;

/// The file in which a server's command writes its attempts.
pub fn ran_at(agentbus: &Agentbus) -> PathBuf {
    agentbus.data_dir().with_file_name("ran")
}

/// The attempts that have begun, as sequence and attempt number, in the order in which they began.
pub fn ran(path: &Path) -> Vec<(u64, u32)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (seq, attempt) = line.split_once(' ')?;
        Some((seq.parse().ok()?, attempt.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The sequences of the messages that were attempted, sorted, each once.
pub fn ran_seqs(path: &Path) -> Vec<u64> {
    let mut seqs: Vec<u64> = ran(path).into_iter().map(|(seq, _)| seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

pub fn message(content: &str) -> Value {
    json!({"kind": "task", "type": "note", "sender_id": "ann", "task_id": "t1", "content": content})
}

/// Posts a message; returns its sequence.
pub async fn post(http: &Http, content: &str) -> u64 {
    let answer = http.post_json("/v1/messages", &message(content)).await.expect(201);
    answer.json()["seq"].as_u64().expect("a sequence")
}

/// Posts `count` messages with this content; returns the last sequence.
pub async fn post_many(http: &Http, content: &str, count: usize) -> u64 {
    let messages: Vec<Value> = (0..count).map(|_| message(content)).collect();
    let answer = http.post_ndjson("/v1/messages/batch", &messages).await.expect(200).json();
    assert_eq!(answer["accepted"], count, "{answer}");
    answer["results"][count - 1]["seq"].as_u64().expect("a sequence")
}

/// The processor's consumer as the API shows it.
pub async fn consumer(http: &Http) -> Value {
    let list = http.get("/v1/consumers").await.expect(200).json();
    let all = list["consumers"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["kind"] == "processor").unwrap_or(Value::Null)
}

/// Waits until the consumer satisfies `holds`.
pub async fn consumer_is(http: &Http, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(REDELIVERY, what, async || {
        let now = consumer(http).await;
        holds(&now).then_some(now)
    })
    .await
}

/// Waits until the consumer has processed everything up to a sequence.
pub async fn processed(http: &Http, through: u64) -> Value {
    consumer_is(http, &format!("all is processed up to {through}"), |now| {
        // Until its first handler starts, a consumer reports everything as done.
        now["state"] != "unhandled"
            && now["processed_through"].as_u64() >= Some(through)
            && now["lag"]["messages"] == 0
    })
    .await
}

pub async fn dead_letters(http: &Http) -> Vec<Value> {
    let list = http.get("/v1/dead-letters").await.expect(200).json();
    list["dead_letters"].as_array().expect("a list").clone()
}
