//! An event stream as bytes: chunks taken off, events found, few of them read.
//!
//! Invariant: an event is counted once it is whole, however the network cut it; a body holds no line
//! break (contract, section 4), so an empty line ends an event and nothing else.

use memchr::{memchr, memmem};

use super::limits::EVENT_BYTES;
use super::meter::number;

/// What is told of each message: its sequence and its bytes.
pub trait Sink {
    /// A message, whole.
    fn message(&mut self, seq: u64, event: &[u8]);
    /// The stream is open.
    fn ready(&mut self);
    /// A replay has met the live edge.
    fn caught_up(&mut self);
}

/// Where in a stream of chunks we are (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the line with the size, so far.
    Size(usize),
    /// In the line with the size, behind the digits.
    SizeEnd(usize),
    /// So many bytes are left.
    Data(usize),
    /// The line break after the data: so many bytes are left of it.
    Break(u8),
    /// After the last chunk.
    End,
}

/// The state of one stream: a few bytes, and what is left of an event that is not whole.
pub struct Stream {
    head: Option<Vec<u8>>,
    chunk: Chunk,
    rest: Vec<u8>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { head: Some(Vec::new()), chunk: Chunk::Size(0), rest: Vec::new() }
    }
}

impl Stream {
    /// Takes what was read.
    ///
    /// # Errors
    /// The answer is no stream, or it has ended; in words.
    pub fn read(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        let Some(mut head) = self.head.take() else {
            return self.chunks(bytes, sink);
        };
        head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&head, b"\r\n\r\n") else {
            if head.len() > EVENT_BYTES {
                return Err("its head does not end".to_owned());
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
                        Some(_) => return Err("a chunk without bounds".to_owned()),
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
                Chunk::End => return Err("the server ended it".to_owned()),
            }
            bytes = &bytes[1..];
        }
        match self.chunk {
            Chunk::End => Err("the server ended it".to_owned()),
            _ => Ok(()),
        }
    }

    fn events(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), String> {
        if self.rest.is_empty() {
            let taken = whole(bytes, sink);
            self.rest.extend_from_slice(&bytes[taken..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let taken = whole(&self.rest, sink);
            self.rest.drain(..taken);
        }
        if self.rest.is_empty() {
            // An idle stream holds nothing.
            self.rest = Vec::new();
        } else if self.rest.len() > EVENT_BYTES {
            return Err("an event does not end".to_owned());
        }
        Ok(())
    }
}

/// Tells every whole event; gives the bytes they took.
fn whole(bytes: &[u8], sink: &mut impl Sink) -> usize {
    let mut start = 0;
    for end in memmem::find_iter(bytes, b"\n\n") {
        // A third line break in a row would overlap; there is none between whole events.
        if end >= start {
            tell(&bytes[start..end + 2], sink);
            start = end + 2;
        }
    }
    start
}

fn tell(event: &[u8], sink: &mut impl Sink) {
    let Some(with_id) = event.strip_prefix(b"id: ") else {
        if event.starts_with(b"event: caught_up") {
            sink.caught_up();
        } else if event.starts_with(b"retry: ")
            && memmem::find(event, b"\nevent: ready\n").is_some()
        {
            sink.ready();
        }
        return;
    };
    let line = memchr(b'\n', with_id).unwrap_or_default();
    match with_id.get(line + 1..) {
        Some(rest) if rest.starts_with(b"event: heartbeat\n") => {}
        Some(rest) if rest.starts_with(b"event: ") => sink.message(number(with_id), event),
        _ => {}
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
    fn every_cut_gives_the_same_events() {
        let bytes = stream();
        let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut stream, mut seen) = (Stream::default(), Seen::default());
            for piece in pieces {
                stream.read(piece, &mut seen).expect("a stream");
            }
            assert!(stream.rest.is_empty());
            seen
        };
        let whole = read(&mut std::iter::once(&bytes[..]));
        assert_eq!((&whole.messages[..], whole.ready, whole.caught_up), (&[3, 12, 13][..], 1, 1));
        for size in 1..bytes.len() {
            assert_eq!(read(&mut bytes.chunks(size)), whole, "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_stream_or_ends_is_told() {
        let mut seen = Seen::default();
        let refused = b"HTTP/1.1 422 X\r\ncontent-length: 3\r\n\r\nbad";
        let told = Stream::default().read(refused, &mut seen).expect_err("no stream");
        assert!(told.contains("422") && told.contains("bad"));
        let mut ended = stream();
        ended.extend_from_slice(b"0\r\n\r\n");
        assert!(Stream::default().read(&ended, &mut seen).is_err());
    }
}
