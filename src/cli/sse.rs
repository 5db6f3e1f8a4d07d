//! Parser of an event stream, by the letter of the WHATWG HTML standard (9.2.6).
//!
//! Invariant: how the bytes were cut into chunks never changes the blocks; an
//! id counts only when its block has ended, so a connection that breaks in the
//! middle of a block moves no cursor. It does no I/O and knows no event of ours.

use std::time::Duration;

use super::limits::EVENT_BYTES;

/// What stood between two empty lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its `event` field; without one `message`.
    pub event: String,
    /// Its `data` lines; `None` where browsers dispatch nothing.
    pub data: Option<Vec<u8>>,
    /// Its own `id` field, if it has one.
    pub id: Option<String>,
}

/// One event is larger than any that the contract allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The state between two chunks of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line so far, without its end.
    line: Vec<u8>,
    /// The last byte was a CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// The first line is through, where a byte order mark may stand.
    past_first_line: bool,
    event: Vec<u8>,
    data: Vec<u8>,
    id: Option<String>,
    retry: Option<Duration>,
}

impl Parser {
    /// Takes the next bytes and adds the blocks that they end.
    ///
    /// # Errors
    /// [`TooLarge`]; the connection is then of no use.
    pub fn feed(&mut self, mut chunk: &[u8], blocks: &mut Vec<Block>) -> Result<(), TooLarge> {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = chunk.iter().position(|&byte| matches!(byte, b'\r' | b'\n')) {
            self.extend_line(&chunk[..end])?;
            self.end_line(blocks);
            let cr = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            if cr {
                self.after_cr = chunk.is_empty();
                chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
            }
        }
        self.extend_line(chunk)
    }

    /// The reconnection time that the server last asked for.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + bytes.len() + self.data.len() > EVENT_BYTES {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, blocks: &mut Vec<Block>) {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !self.past_first_line {
            self.past_first_line = true;
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        if text.is_empty() {
            self.end_block(blocks);
        } else {
            let colon = text.iter().position(|&byte| byte == b':');
            let (name, value) = match colon {
                Some(at) => (&text[..at], &text[at + 1..]),
                None => (text, &text[text.len()..]),
            };
            self.field(name, value.strip_prefix(b" ").unwrap_or(value));
        }
        // The line's memory serves the next one.
        self.line = line;
        self.line.clear();
    }

    /// A comment is a field with an empty name, and ignored like any unknown one.
    fn field(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"event" => self.event = value.to_vec(),
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => self.id = Some(text(value)),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                if let Ok(millis) = text(value).parse() {
                    self.retry = Some(Duration::from_millis(millis));
                }
            }
            _ => {}
        }
    }

    fn end_block(&mut self, blocks: &mut Vec<Block>) {
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        let id = self.id.take();
        // With a data line there is a line feed at the end, even for no data.
        let data = data.pop().is_some().then_some(data);
        if data.is_none() && id.is_none() {
            return;
        }
        let event = if event.is_empty() { "message".to_owned() } else { text(&event) };
        blocks.push(Block { event, data, id });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut parser = Parser::default();
        for chunk in chunks {
            parser.feed(chunk, &mut blocks).expect("small enough");
        }
        blocks
    }

    fn block(event: &str, data: Option<&str>, id: Option<&str>) -> Block {
        Block {
            event: event.to_owned(),
            data: data.map(|data| data.as_bytes().to_vec()),
            id: id.map(str::to_owned),
        }
    }

    /// Text made of what matters to the grammar.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"data".to_vec()),
            Just(b"event".to_vec()),
            Just(b"id".to_vec()),
            Just(b"retry".to_vec()),
            Just(b":".to_vec()),
            Just(b": ".to_vec()),
            Just(b"\xef\xbb\xbf".to_vec()),
            Just("→é".as_bytes().to_vec()),
            Just(b"12".to_vec()),
            Just(b"\0".to_vec()),
            Just(b"\xff".to_vec()),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn chunking_never_changes_the_blocks(
            stream in stream(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            let whole = parse([stream.as_slice()]);
            prop_assert_eq!(parse(chunks), whole.clone());
            prop_assert_eq!(parse(stream.chunks(1)), whole);
        }

        #[test]
        fn every_line_end_is_the_same(lines in proptest::collection::vec("(data|id|event)?(: ?[a-c]{0,2})?", 0..20)) {
            let with = |end: &str| lines.iter().map(|line| format!("{line}{end}")).collect::<String>();
            let expected = parse([with("\n").as_bytes()]);
            prop_assert_eq!(parse([with("\r\n").as_bytes()]), expected.clone());
            prop_assert_eq!(parse([with("\r").as_bytes()]), expected);
        }
    }

    #[test]
    fn the_standards_own_examples() {
        assert_eq!(
            parse([b"data: YHOO\ndata: +2\ndata: 10\n\n".as_slice()]),
            [block("message", Some("YHOO\n+2\n10"), None)]
        );
        assert_eq!(
            parse([b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n".as_slice()]),
            [block("message", Some("first event"), Some("1")), block("message", Some("second event"), Some(""))]
        );
        assert_eq!(
            parse([b"data\n\ndata\ndata\n\ndata:".as_slice()]),
            [block("message", Some(""), None), block("message", Some("\n"), None)]
        );
        assert_eq!(
            parse([b"data:test\n\ndata: test\n\n".as_slice()]),
            [block("message", Some("test"), None), block("message", Some("test"), None)]
        );
    }

    #[test]
    fn odd_fields() {
        assert_eq!(
            parse([b"\xef\xbb\xbfid: 7\n\n".as_slice()]),
            [block("message", None, Some("7"))]
        );
        assert_eq!(parse([b"id: a\0b\n\nevent: x\n\n:c\n\n".as_slice()]), []);
        assert_eq!(
            parse([b"Data: x\n data: y\nevent: a\nevent: b\nid: 1\ndata: z\n\n".as_slice()]),
            [block("b", Some("z"), Some("1"))]
        );
        let mut parser = Parser::default();
        parser
            .feed(b"retry: 12\nretry: 1x\nretry\nretry: 99999999999999999999999\n", &mut Vec::new())
            .expect("small");
        assert_eq!(parser.retry(), Some(Duration::from_millis(12)));
    }

    #[test]
    fn an_endless_event_is_given_up() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let fed =
            (0..=EVENT_BYTES / chunk.len()).try_for_each(|_| parser.feed(&chunk, &mut Vec::new()));
        assert_eq!(fed, Err(TooLarge));
    }
}
