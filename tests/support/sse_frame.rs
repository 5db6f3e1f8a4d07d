//! Parses Server-Sent Events strictly by the standard (WHATWG HTML, 9.2.6). The one exception: blocks that a
//! browser would not dispatch, for example with only an id, are returned too, since tests check those.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// One block of lines up to an empty line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The last `id` in it; an id with U+0000 is ignored.
    pub id: Option<String>,
    /// The last `event` in it.
    pub event: Option<String>,
    /// The `data` lines, joined by line feeds; the bytes as they came.
    pub data: Option<Bytes>,
    /// The last `retry` in it, in milliseconds.
    pub retry: Option<u64>,
    /// The comment lines, without the colon.
    pub comments: Vec<String>,
}

impl Frame {
    /// Whether the frame carries a message: its event is the kind of a message.
    pub fn is_message(&self) -> bool {
        matches!(self.event.as_deref(), Some("message" | "status" | "task"))
    }

    pub fn is(&self, name: &str) -> bool {
        self.event.as_deref() == Some(name)
    }

    /// The id as a number; fails the test if there is none.
    pub fn seq(&self) -> u64 {
        let id = self.id.as_deref().unwrap_or_else(|| panic!("a frame without an id: {self:?}"));
        id.parse().unwrap_or_else(|_| panic!("an id that is no sequence: {self:?}"))
    }

    /// The data as JSON; fails the test if it is not JSON.
    pub fn json(&self) -> Value {
        let data = self.data.as_ref().unwrap_or_else(|| panic!("a frame without data: {self:?}"));
        serde_json::from_slice(data)
            .unwrap_or_else(|error| panic!("data is not JSON: {error}: {self:?}"))
    }
}

/// Cuts a byte stream into frames, however the stream is split when it arrives.
#[derive(Default)]
pub struct Parser {
    line: BytesMut,
    frame: Frame,
    lines_in_frame: usize,
    after_cr: bool,
    past_first_line: bool,
}

impl Parser {
    /// Takes bytes that have arrived, and returns the frames that they complete. The rest after the last
    /// empty line is kept; the standard says to discard it at the end of the stream.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in chunk {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    frames.extend(self.end_line());
                }
                _ => {
                    self.after_cr = false;
                    self.line.extend_from_slice(&[byte]);
                }
            }
        }
        frames
    }

    fn end_line(&mut self) -> Option<Frame> {
        let mut line = self.line.split().freeze();
        if !self.past_first_line {
            self.past_first_line = true;
            line = line
                .strip_prefix("\u{feff}".as_bytes())
                .map_or(line.clone(), |rest| line.slice_ref(rest));
        }
        if !line.is_empty() {
            self.lines_in_frame += 1;
            self.field(&line);
            return None;
        }
        let complete = std::mem::take(&mut self.lines_in_frame) > 0;
        complete.then(|| std::mem::take(&mut self.frame))
    }

    fn field(&mut self, line: &Bytes) {
        let colon = line.iter().position(|&byte| byte == b':');
        let name = line.slice(..colon.unwrap_or(line.len()));
        let value = colon.map_or(Bytes::new(), |at| line.slice(at + 1..));
        if name.is_empty() {
            self.frame.comments.push(text(&value));
            return;
        }
        let value = if value.starts_with(b" ") { value.slice(1..) } else { value };
        match name.as_ref() {
            b"id" if !value.contains(&0) => self.frame.id = Some(text(&value)),
            b"event" => self.frame.event = Some(text(&value)),
            b"data" => self.frame.data = Some(joined(self.frame.data.take(), value)),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.frame.retry = text(&value).parse().ok().or(self.frame.retry);
            }
            _ => {}
        }
    }
}

fn joined(before: Option<Bytes>, line: Bytes) -> Bytes {
    match before {
        None => line,
        Some(before) => [before.as_ref(), line.as_ref()].join(&b'\n').into(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
