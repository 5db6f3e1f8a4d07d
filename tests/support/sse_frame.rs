//! Frames of a stream, by the parser of the client: also those that a browser does not dispatch, such as an id alone.

use agentbus_client::sse;
use bytes::Bytes;
use serde_json::Value;

/// One block of lines up to an empty line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The last `id` in it; one with U+0000 is ignored.
    pub id: Option<String>,
    /// The last `event` in it.
    pub event: Option<String>,
    /// Its `data` lines, joined by line feeds; the bytes as they came.
    pub data: Option<Bytes>,
    /// The last `retry` in it, in milliseconds.
    pub retry: Option<u64>,
    /// Its comment lines, without the colon.
    pub comments: Vec<String>,
}

impl Frame {
    /// Whether it carries a message: its event is a kind.
    pub fn is_message(&self) -> bool {
        matches!(self.event.as_deref(), Some("message" | "status" | "task"))
    }

    /// Whether its event is called `name`.
    pub fn is(&self, name: &str) -> bool {
        self.event.as_deref() == Some(name)
    }

    /// Its id as a number; fails the test if it has none.
    pub fn seq(&self) -> u64 {
        let id = self.id.as_deref().unwrap_or_else(|| panic!("a frame without an id: {self:?}"));
        id.parse().unwrap_or_else(|_| panic!("an id that is no sequence: {self:?}"))
    }

    /// Its data as JSON; fails the test if it is none.
    pub fn json(&self) -> Value {
        let data = self.data.as_ref().unwrap_or_else(|| panic!("a frame without data: {self:?}"));
        serde_json::from_slice(data)
            .unwrap_or_else(|error| panic!("data is not JSON: {error}: {self:?}"))
    }
}

/// Cuts a byte stream into frames, however it arrives. What follows the last empty line stays: at the end of the
/// stream it is to be discarded, says the standard.
#[derive(Default)]
pub struct Parser(sse::Parser);

impl Parser {
    /// Takes what has arrived, and gives the frames that it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        let fed = self.0.feed(chunk, |event| frames.push(frame(&event)));
        fed.expect("an event within the client's limit");
        frames
    }
}

fn frame(event: &sse::Event<'_>) -> Frame {
    let comments = event.bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    Frame {
        id: event.id.map(text),
        event: (!event.name.is_empty()).then(|| text(event.name)),
        data: event.data.map(Bytes::copy_from_slice),
        retry: event.retry.map(|wait| u64::try_from(wait.as_millis()).expect("milliseconds")),
        comments: comments.filter_map(|line| line.strip_prefix(b":")).map(text).collect(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
