//! What the tests of the stream have in common: publishing, history to hold a stream against, and a reader on a bare
//! socket that can be cut at any byte or left unread.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;

use super::sse_frame::Parser;
use super::{Frame, Http, Sse, eventually, within};

/// For whatever should come soon; generous, since the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Messages of one batch: the most that the contract allows.
const BATCH: usize = 1_000;
const SLOW_BUFFER: u32 = 4_096;

/// A message as a reader has it: its place and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its sequence.
    pub seq: u64,
    /// All of it, as it came.
    pub bytes: Bytes,
}

impl Line {
    /// The message in a frame, whose id and name have to fit it.
    pub fn of(frame: &Frame) -> Self {
        let (seq, message) = (frame.seq(), frame.json());
        assert_eq!(message["seq"], seq, "the id is not the sequence: {frame:?}");
        assert_eq!(message["kind"].as_str(), frame.event.as_deref(), "not the kind: {frame:?}");
        Self { seq, bytes: frame.data.clone().expect("a message has data") }
    }

    /// The message.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("a message is JSON")
    }
}

/// The messages among frames.
pub fn lines(frames: &[Frame]) -> Vec<Line> {
    frames.iter().filter(|frame| frame.is_message()).map(Line::of).collect()
}

/// Fails the test unless both are the same, and shows the first difference alone: they are long.
#[track_caller]
pub fn assert_same(what: &str, got: &[Line], wanted: &[Line]) {
    let both = got.len().min(wanted.len());
    if let Some(at) = (0..both).find(|&at| got[at] != wanted[at]) {
        panic!("{what}: at {at}: {:?}, and not {:?}", got[at], wanted[at]);
    }
    let (more, fewer) = (got.get(both), wanted.get(both));
    assert!(more.is_none() && fewer.is_none(), "{what}: too many {more:?} or missing {fewer:?}");
}

/// A plain message with a number.
pub fn message(n: usize) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "writer", "content": format!("message {n}")})
}

/// A plain message whose content is `size` bytes long.
pub fn large(n: usize, size: usize) -> Value {
    let content = format!("{n:<size$}");
    json!({"kind": "message", "type": "large", "sender_id": "writer", "content": content})
}

/// Numbered plain messages.
pub fn messages(count: usize) -> Vec<Value> {
    (0..count).map(message).collect()
}

/// Publishes all through the batch route, and gives their sequences; fails the test if one is refused.
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

/// Publishes one, and gives its sequence.
pub async fn publish_one(http: &Http, message: &Value) -> u64 {
    let answer = http.post_json("/v1/messages", message).await.expect(201).json();
    answer["seq"].as_u64().expect("a sequence")
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Box<RawValue>>,
    next: Option<u64>,
    committed_through: u64,
}

#[derive(Deserialize)]
struct Place {
    seq: u64,
}

/// Waits until history reaches `seq`.
pub async fn committed(http: &Http, seq: u64) {
    eventually(LIMIT, "history has caught up", async || {
        (page(http, "limit=1").await.committed_through >= seq).then_some(())
    })
    .await;
}

/// All of history that `query` asks for, page by page, ascending.
pub async fn history(http: &Http, query: &str) -> Vec<Line> {
    pages(http, query, 1_000).await
}

/// Like [`history`], with pages of `limit`.
pub async fn pages(http: &Http, query: &str, limit: usize) -> Vec<Line> {
    let (mut lines, mut from) = (Vec::new(), String::new());
    loop {
        let page = page(http, &format!("{query}&limit={limit}{from}")).await;
        assert!(page.messages.len() <= limit, "more than the limit");
        for raw in &page.messages {
            let bytes = Bytes::copy_from_slice(raw.get().as_bytes());
            let place: Place = serde_json::from_slice(&bytes).expect("a message has a sequence");
            lines.push(Line { seq: place.seq, bytes });
        }
        match page.next {
            Some(next) => from = format!("&after={next}"),
            None => return lines,
        }
    }
}

async fn page(http: &Http, query: &str) -> Page {
    let path = format!("/v1/messages?{}", query.trim_start_matches('&'));
    let answer = http.get(&path).await.expect(200);
    serde_json::from_slice(&answer.bytes).expect("a page")
}

/// Reads a replay to its `caught_up`, and gives its messages and that event's `seq`.
pub async fn replay(stream: &mut Sse) -> (Vec<Line>, u64) {
    let frames = stream.until(LIMIT, |frame| frame.is("caught_up") || frame.is("gap")).await;
    let last = frames.last().expect("a frame");
    assert!(last.is("caught_up"), "{last:?}");
    assert_eq!(last.id, None, "caught_up has no id");
    (lines(&frames), last.json()["seq"].as_u64().expect("a sequence"))
}

/// A stream on a socket of its own, read byte by byte as the test asks. Dropped, the connection is closed.
pub struct Wire {
    reader: BufReader<tokio::net::TcpStream>,
    /// Bytes that are left of the current chunk of the transfer.
    chunk: usize,
    parser: Parser,
    waiting: VecDeque<Frame>,
}

impl Wire {
    /// Opens `/v1/stream?query` (encoded already).
    pub async fn open(base: &str, query: &str, last_event_id: Option<u64>) -> Result<Self> {
        let mut wire = Self::connect(TcpSocket::new_v4()?, base).await?;
        let resume = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        wire.ask(base, "GET", &format!("/v1/stream?{query}"), &resume).await?;
        wire.opened().await
    }

    /// Opens it on a socket that takes next to nothing until it is read.
    pub async fn open_slow(base: &str, query: &str) -> Result<Self> {
        let mut wire = Self::connect_slow(base).await?;
        wire.ask(base, "GET", &format!("/v1/stream?{query}"), "").await?;
        wire.opened().await
    }

    /// A connection without a request, that takes next to nothing until it is read.
    pub async fn connect_slow(base: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
        Self::connect(socket, base).await
    }

    async fn connect(socket: TcpSocket, base: &str) -> Result<Self> {
        let address = base.trim_start_matches("http://").parse().expect("an address");
        let stream = socket.connect(address).await?;
        let (parser, waiting) = (Parser::default(), VecDeque::new());
        Ok(Self { reader: BufReader::new(stream), chunk: 0, parser, waiting })
    }

    /// Sends a request and waits for nothing. `headers`: more of them, each with its end of line.
    pub async fn ask(&mut self, base: &str, method: &str, path: &str, headers: &str) -> Result<()> {
        let host = base.trim_start_matches("http://");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).await
    }

    /// The head of the next answer: its status line, and its headers in lower case.
    pub async fn head(&mut self) -> Result<(String, Vec<String>)> {
        let (status, mut headers) = (self.line().await?, Vec::new());
        loop {
            match self.line().await?.to_lowercase() {
                header if header.is_empty() => return Ok((status, headers)),
                header => headers.push(header),
            }
        }
    }

    /// The body of the next answer, which tells its length.
    pub async fn body(&mut self) -> Result<Vec<u8>> {
        let (status, headers) = self.head().await?;
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "));
        let length = length.unwrap_or_else(|| panic!("{status} without a length: {headers:?}"));
        let mut body = vec![0; length.parse().expect("a length")];
        self.reader.read_exact(&mut body).await?;
        Ok(body)
    }

    /// The stream, when its head comes next.
    pub async fn opened(mut self) -> Result<Self> {
        let (status, headers) = self.head().await?;
        if status != "HTTP/1.1 200 OK" {
            return Err(Error::other(status));
        }
        let chunked = headers.iter().any(|header| header == "transfer-encoding: chunked");
        assert!(chunked, "the answer is not chunked");
        Ok(self)
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(frame);
            }
            self.some(usize::MAX).await?;
        }
    }

    /// The next message; fails the test if a gap comes first.
    pub async fn message(&mut self) -> Result<Line> {
        loop {
            let frame = self.frame().await?;
            assert!(!frame.is("gap"), "{frame:?}");
            if frame.is_message() {
                return Ok(Line::of(&frame));
            }
        }
    }

    /// A frame that has come and was not given yet.
    pub fn waiting(&mut self) -> Option<Frame> {
        self.waiting.pop_front()
    }

    /// Reads some bytes of the stream, at most `most`, and says how many. Frames that they complete then wait.
    pub async fn some(&mut self, most: usize) -> Result<usize> {
        if self.chunk == 0 {
            let size = self.line().await?;
            self.chunk = usize::from_str_radix(&size, 16).map_err(Error::other)?;
            if self.chunk == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let mut data = vec![0; most.min(self.chunk).min(8_192)];
        let read = self.reader.read(&mut data).await?;
        if read == 0 && most > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.chunk -= read;
        if self.chunk == 0 {
            self.line().await?;
        }
        self.waiting.extend(self.parser.push(&data[..read]));
        Ok(read)
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        Ok(line.to_owned())
    }
}

/// Opens streams that are read to their `ready`, and then no more.
pub async fn hang(base: &str, count: usize, query: &str) -> Vec<Wire> {
    let open = async || {
        let mut wire = Wire::open_slow(base, query).await?;
        while !wire.frame().await?.is("ready") {}
        Result::Ok(wire)
    };
    within(LIMIT, "streams open", try_join_all((0..count).map(|_| open()))).await.expect("streams")
}
