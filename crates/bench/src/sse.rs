//! Parses the response of an event stream: checks its head, decodes its chunks, passes its events to a sink.
//!
//! Invariant: the events do not depend on how the network splits the bytes.

use agentbus_client::sse::{Event, Parser};
use memchr::memmem;

use super::limits::MAX_HEAD_BYTES;

/// Receives the events of a stream.
pub trait Sink {
    /// A message: its sequence and the bytes of its event.
    fn message(&mut self, seq: u64, event: &[u8]);
    /// The stream is open.
    fn ready(&mut self);
    /// The replay has reached the live edge.
    fn caught_up(&mut self);
}

/// The position in the chunked coding (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the line with the size; its value so far.
    Size(usize),
    /// In the line with the size, after the digits.
    SizeEnd(usize),
    /// In the data; bytes left.
    Data(usize),
    /// In the line break after the data; bytes left.
    Break(u8),
    /// After the last chunk.
    End,
}

/// The state of one stream: a few bytes, and the beginning of an incomplete event.
pub struct Stream {
    head: Option<Vec<u8>>,
    chunk: Chunk,
    parser: Parser,
}

impl Default for Stream {
    fn default() -> Self {
        Self { head: Some(Vec::new()), chunk: Chunk::Size(0), parser: Parser::default() }
    }
}

impl Stream {
    /// Parses the next bytes of the connection.
    ///
    /// # Errors
    /// The response is not a stream, or the stream has ended.
    pub fn read(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        let Some(mut head) = self.head.take() else {
            return self.chunks(bytes, sink);
        };
        head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&head, b"\r\n\r\n") else {
            if head.len() > MAX_HEAD_BYTES {
                return Err("the head of the response is too large".to_owned());
            }
            self.head = Some(head);
            return Ok(());
        };
        if !head.starts_with(b"HTTP/1.1 200 ") {
            let start = &head[..head.len().min(400)];
            return Err(String::from_utf8_lossy(start).trim_end().to_owned());
        }
        self.chunks(&head[end + 4..], sink)
    }

    fn chunks(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        while let Some(&first) = bytes.first() {
            match self.chunk {
                Chunk::Data(left) => {
                    let here = left.min(bytes.len());
                    self.events(&bytes[..here], sink)?;
                    bytes = &bytes[here..];
                    self.chunk =
                        if here == left { Chunk::Break(2) } else { Chunk::Data(left - here) };
                    continue;
                }
                Chunk::Size(size) => {
                    self.chunk = match char::from(first).to_digit(16) {
                        Some(digit) if size <= usize::MAX >> 8 => {
                            Chunk::Size(size << 4 | digit as usize)
                        }
                        Some(_) => return Err("the chunk is too large".to_owned()),
                        None => Chunk::SizeEnd(size),
                    };
                }
                Chunk::SizeEnd(size) => {
                    if first == b'\n' {
                        self.chunk = if size == 0 { Chunk::End } else { Chunk::Data(size) };
                    }
                }
                Chunk::Break(left) => {
                    self.chunk = if left > 1 { Chunk::Break(left - 1) } else { Chunk::Size(0) };
                }
                Chunk::End => return Err("the server ended the stream".to_owned()),
            }
            bytes = &bytes[1..];
        }
        match self.chunk {
            Chunk::End => Err("the server ended the stream".to_owned()),
            _ => Ok(()),
        }
    }

    fn events(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        self.parser.feed(bytes, |event| dispatch(event, sink)).map_err(|error| error.to_string())
    }
}

fn dispatch(event: Event<'_>, sink: &mut impl Sink) {
    match event.name {
        b"ready" => sink.ready(),
        b"caught_up" => sink.caught_up(),
        b"heartbeat" | b"gap" | b"unavailable" => {}
        // A comment has no data and no id.
        _ => {
            if let (Some(seq), Some(_)) = (event.seq(), event.data) {
                sink.message(seq, event.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        messages: Vec<u64>,
        bytes: usize,
        ready: u32,
        caught_up: u32,
    }

    impl Sink for Seen {
        fn message(&mut self, seq: u64, event: &[u8]) {
            self.messages.push(seq);
            self.bytes += event.len();
        }
        fn ready(&mut self) {
            self.ready += 1;
        }
        fn caught_up(&mut self) {
            self.caught_up += 1;
        }
    }

    fn stream() -> Vec<u8> {
        let message = |seq, kind| {
            format!("id: {seq}\nevent: {kind}\ndata: {{\"id\":\"x\",\"seq\":{seq}}}\n\n")
        };
        let frames = [
            "retry: 2000\nid: 1\nevent: ready\ndata: {\"head\":2,\"first\":1,\"replaying\":true}\n\n".to_owned(),
            "event: gap\ndata: {\"from\":1,\"to\":2,\"reason\":\"expired\"}\n\n".to_owned(),
            message(3, "task"),
            "id: 5\nevent: heartbeat\n\n".to_owned(),
            ":\n\n".to_owned(),
            message(12, "status"),
            "event: caught_up\ndata: {\"seq\":12}\n\n".to_owned(),
            message(13, "message"),
        ];
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for pair in frames.chunks(2) {
            let data = pair.concat();
            bytes.extend_from_slice(format!("{:X};x=y\r\n", data.len()).as_bytes());
            bytes.extend_from_slice(data.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let bytes = stream();
        let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut stream, mut seen) = (Stream::default(), Seen::default());
            for piece in pieces {
                stream.read(piece, &mut seen).expect("a stream");
            }
            assert!(stream.parser.is_empty());
            seen
        };
        let whole = read(&mut std::iter::once(&bytes[..]));
        assert_eq!((&whole.messages[..], whole.ready, whole.caught_up), (&[3, 12, 13][..], 1, 1));
        for size in 1..bytes.len() {
            assert_eq!(read(&mut bytes.chunks(size)), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_refusal_and_the_end_of_the_stream_are_errors() {
        let mut seen = Seen::default();
        let refused = b"HTTP/1.1 422 X\r\ncontent-length: 3\r\n\r\nbad";
        let error = Stream::default().read(refused, &mut seen).expect_err("no stream");
        assert!(error.contains("422") && error.contains("bad"));
        let mut ended = stream();
        ended.extend_from_slice(b"0\r\n\r\n");
        assert!(Stream::default().read(&ended, &mut seen).is_err());
    }
}
