//! A parser of Server-Sent Events that follows the WHATWG HTML standard (9.2.6) exactly. No I/O.
//!
//! Invariant: the events do not depend on how the bytes are cut into chunks. An event is reported only when
//! it is complete, so a connection that breaks within an event moves no cursor. An event borrows from the
//! chunk that holds it; bytes are copied only if an event spans chunks or has several `data` lines.
//!
//! ```
//! let mut parser = agentbus_client::sse::Parser::default();
//! let mut seen = Vec::new();
//! for chunk in [&b"id: 7\nevent: task\nda"[..], b"ta: {\"seq\":7}\n\n"] {
//!     parser.feed(chunk, |event| seen.push((event.seq(), event.data.map(<[u8]>::to_vec))))?;
//! }
//! assert_eq!(seen, [(Some(7), Some(b"{\"seq\":7}".to_vec()))]);
//! # Ok::<(), agentbus_client::sse::TooLarge>(())
//! ```

use std::time::Duration;

use memchr::{memchr, memchr2};

use crate::limits::EVENT_BYTES;

/// A block between two empty lines. Blocks that browsers do not dispatch are reported too: comments,
/// heartbeats (an id without data), and a single `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The block's last `event` field; empty for what the standard calls `message`.
    pub name: &'a [u8],
    /// The block's `data` lines, joined by line feeds; `None` if there are none.
    pub data: Option<&'a [u8]>,
    /// The block's last `id` field. Unlike in the standard, it is not kept for later events. An id with
    /// U+0000 is ignored, as in the standard.
    pub id: Option<&'a [u8]>,
    /// The block's last valid `retry` field: how long to wait before reconnecting.
    pub retry: Option<Duration>,
    /// All bytes of the block as they arrived, with its empty line.
    pub bytes: &'a [u8],
}

impl Event<'_> {
    /// The id as a sequence; `None` if it is not a number.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        number(self.id?)
    }
}

/// The error for an event that is larger than [`EVENT_BYTES`]. The connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES} bytes")]
pub struct TooLarge;

/// The state of one connection between chunks.
#[derive(Debug, Default)]
pub struct Parser {
    /// The beginning of an event that is not complete.
    partial: Vec<u8>,
    block: Block,
    /// Whether the last byte was a CR. Then an LF that follows belongs to the same line end.
    after_cr: bool,
    /// Whether the first line has been read. It may begin with a byte order mark.
    past_first_line: bool,
}

/// The fields found so far in one block, as positions counted from its first byte.
#[derive(Debug, Default)]
struct Block {
    line_start: usize,
    /// The bytes from `line_start` to this position hold no line end.
    searched: usize,
    has_lines: bool,
    name: Span,
    data: Option<Span>,
    /// The joined data, if there are several `data` lines.
    joined: Vec<u8>,
    id: Option<Span>,
    retry: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span(usize, usize);

impl Parser {
    /// Parses the next bytes and reports each event that they complete, in order.
    ///
    /// # Errors
    /// [`TooLarge`]. Events that were complete before that have been reported.
    pub fn feed(
        &mut self,
        mut chunk: &[u8],
        mut report: impl FnMut(Event<'_>),
    ) -> Result<(), TooLarge> {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        if !self.partial.is_empty() {
            let mut bytes = std::mem::take(&mut self.partial);
            let before = bytes.len();
            bytes.extend_from_slice(chunk);
            let Some(end) = self.block_end(&bytes) else {
                return self.keep(bytes);
            };
            self.report(&bytes[..end], &mut report);
            chunk = &chunk[end - before..];
        }
        while let Some(end) = self.block_end(chunk) {
            self.report(&chunk[..end], &mut report);
            chunk = &chunk[end..];
        }
        self.keep(chunk.to_vec())
    }

    /// Whether the parser holds no incomplete event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Result<(), TooLarge> {
        self.partial = bytes;
        if self.partial.len() > EVENT_BYTES { Err(TooLarge) } else { Ok(()) }
    }

    fn report(&mut self, bytes: &[u8], report: &mut impl FnMut(Event<'_>)) {
        let block = std::mem::take(&mut self.block);
        if !block.has_lines {
            return;
        }
        let text = |span: Span| &bytes[span.0..span.1];
        report(Event {
            name: text(block.name),
            data: if block.joined.is_empty() { block.data.map(text) } else { Some(&block.joined) },
            id: block.id.map(text),
            retry: block.retry.map(Duration::from_millis),
            bytes,
        });
    }

    /// Reads lines up to an empty one, and returns the position behind it. `bytes` must begin with the block.
    fn block_end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(found) = memchr2(b'\n', b'\r', &bytes[self.block.searched..]) {
            let end = self.block.searched + found;
            let mut next = end + 1;
            if bytes[end] == b'\r' {
                match bytes.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            let mut start = self.block.line_start;
            if !self.past_first_line {
                self.past_first_line = true;
                start += if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            }
            (self.block.line_start, self.block.searched) = (next, next);
            if start == end {
                return Some(next);
            }
            self.block.line(bytes, start, end);
        }
        self.block.searched = bytes.len();
        None
    }
}

impl Block {
    /// Reads one line. A comment looks like a field with an empty name, and is ignored like any unknown
    /// field.
    fn line(&mut self, bytes: &[u8], start: usize, end: usize) {
        self.has_lines = true;
        let line = &bytes[start..end];
        let (name, value) = match memchr(b':', line) {
            Some(colon) => {
                let space = usize::from(line.get(colon + 1) == Some(&b' '));
                (&line[..colon], Span(start + colon + 1 + space, end))
            }
            None => (line, Span(end, end)),
        };
        let text = &bytes[value.0..value.1];
        match name {
            b"event" => self.name = value,
            b"data" => self.data(bytes, value),
            b"id" if memchr(0, text).is_none() => self.id = Some(value),
            b"retry" => self.retry = number(text).or(self.retry),
            _ => {}
        }
    }

    fn data(&mut self, bytes: &[u8], value: Span) {
        let Some(first) = self.data else {
            self.data = Some(value);
            return;
        };
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&bytes[first.0..first.1]);
        }
        self.joined.push(b'\n');
        self.joined.extend_from_slice(&bytes[value.0..value.1]);
    }
}

/// Parses a number that consists of decimal digits only.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests;
