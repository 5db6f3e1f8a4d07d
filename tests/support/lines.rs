//! Messages as readers have them, with their bytes as they came: from streams, and from history page by page.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Answer, Frame, Http, Sse, eventually};

/// For the store to catch up, on a machine that is busy with other servers.
const COMMIT: Duration = Duration::from_secs(30);

/// A message as its reader has it: the sequence that it stands at, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub seq: u64,
    /// The whole message.
    pub text: String,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    next: Option<u64>,
}

impl Line {
    /// The message; fails the test if it is no JSON, or does not begin with its sequence.
    pub fn of(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).expect("a message is JSON");
        let seq = json["seq"].as_u64().expect("a message has a sequence");
        assert!(text.starts_with(&format!("{{\"seq\":{seq}")), "seq is not first: {text:.200}");
        Self { seq, text: text.to_owned() }
    }

    /// The message of a frame; fails the test if that tells another sequence or kind than the message does.
    pub fn of_frame(frame: &Frame) -> Self {
        let data = frame.data.as_ref().unwrap_or_else(|| panic!("no data: {frame:?}"));
        let line = Self::of(std::str::from_utf8(data).expect("a message is UTF-8"));
        assert_eq!(line.seq, frame.seq(), "the id is not the sequence");
        if let Some(kind) = line.json()["kind"].as_str() {
            assert!(frame.is(kind), "the event's name is not the kind: {frame:?}");
        }
        line
    }

    /// The message as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("a message is JSON")
    }
}

/// Everything that `/v1/messages?query` gives, over as many pages as it takes.
pub async fn read(http: &Http, query: &str) -> Vec<Line> {
    let (mut lines, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/messages?limit=1000&after={after}&{query}");
        let answer = http.get(&path).await.expect(200);
        let page: Page<'_> = serde_json::from_slice(&answer.bytes).expect("a page of history");
        lines.extend(page.messages.iter().map(|message| Line::of(message.get())));
        let Some(next) = page.next else { return lines };
        assert!(next > after, "the pages do not move on: {next} after {after}");
        after = next;
    }
}

/// The next messages of a stream.
pub async fn take(stream: &mut Sse, count: usize, limit: Duration) -> Vec<Line> {
    stream.collect_messages(count, limit).await.iter().map(Line::of_frame).collect()
}

/// The sequences of messages.
pub fn seqs(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.seq).collect()
}

/// Fails the test unless both are the same messages with the same bytes; `path` says where they were read.
pub fn assert_same(path: &str, found: &[Line], expected: &[Line]) {
    assert_eq!(seqs(found), seqs(expected), "{path}");
    for (found, expected) in found.iter().zip(expected) {
        let (a, b) = (&found.text, &expected.text);
        assert!(a == b, "{path}, {}:\n{a:.500}\n{b:.500}", expected.seq);
    }
}

/// The sequence up to which the server says the store has everything; `None` while it cannot say.
pub async fn committed_through(http: &Http) -> Option<u64> {
    let answer = http.request(reqwest::Method::GET, "/v1/messages?limit=1", &[], "").await.ok()?;
    (answer.status == 200).then(|| answer.json()["committed_through"].as_u64())?
}

/// Waits until the store has everything up to `seq`.
pub async fn committed(http: &Http, seq: u64) {
    eventually(COMMIT, "the store catches up", async || {
        (committed_through(http).await? >= seq).then_some(())
    })
    .await;
}

/// The sequence in an answer to a POST.
pub fn seq_of(answer: &Answer) -> u64 {
    answer.json()["seq"].as_u64().unwrap_or_else(|| panic!("no sequence: {}", answer.text()))
}
