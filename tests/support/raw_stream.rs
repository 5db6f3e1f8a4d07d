//! A reader of a stream on a plain socket: the test can cut it at any byte, or leave it unread.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};

use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;

use super::records::Record;
use super::sse_frame::Parser;
use super::streams::LIMIT;
use super::{Frame, within};

const SLOW_BUFFER: u32 = 4_096;

/// A stream on its own socket, read only as far as the test asks. Dropped, the connection is closed.
pub struct RawStream {
    reader: BufReader<tokio::net::TcpStream>,
    /// Bytes that are left of the current HTTP chunk.
    chunk: usize,
    parser: Parser,
    waiting: VecDeque<Frame>,
}

impl RawStream {
    /// Opens `/v1/stream?query`; `query` must be encoded already.
    pub async fn open(base: &str, query: &str, last_event_id: Option<u64>) -> Result<Self> {
        let mut stream = Self::connect(TcpSocket::new_v4()?, base).await?;
        let resume = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        stream.ask(base, "GET", &format!("/v1/stream?{query}"), &resume).await?;
        stream.opened().await
    }

    /// Like [`RawStream::open`], with a tiny receive buffer.
    pub async fn open_slow(base: &str, query: &str) -> Result<Self> {
        let mut stream = Self::connect_slow(base).await?;
        stream.ask(base, "GET", &format!("/v1/stream?{query}"), "").await?;
        stream.opened().await
    }

    /// Connects with a tiny receive buffer, and sends no request.
    pub async fn connect_slow(base: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
        Self::connect(socket, base).await
    }

    async fn connect(socket: TcpSocket, base: &str) -> Result<Self> {
        let address = base.trim_start_matches("http://").parse().expect("an address");
        let socket = socket.connect(address).await?;
        let (parser, waiting) = (Parser::default(), VecDeque::new());
        Ok(Self { reader: BufReader::new(socket), chunk: 0, parser, waiting })
    }

    /// Sends a request and does not wait for the response. `headers` are added, each with its end of
    /// line.
    pub async fn ask(&mut self, base: &str, method: &str, path: &str, headers: &str) -> Result<()> {
        let host = base.trim_start_matches("http://");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).await
    }

    /// The head of the next response: its status line, and its headers in lower case.
    pub async fn head(&mut self) -> Result<(String, Vec<String>)> {
        let (status, mut headers) = (self.line().await?, Vec::new());
        loop {
            match self.line().await?.to_lowercase() {
                header if header.is_empty() => return Ok((status, headers)),
                header => headers.push(header),
            }
        }
    }

    /// The body of the next response, which must have a Content-Length.
    pub async fn body(&mut self) -> Result<Vec<u8>> {
        let (status, headers) = self.head().await?;
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: "));
        let length = length.unwrap_or_else(|| panic!("{status} without a length: {headers:?}"));
        let mut body = vec![0; length.parse().expect("a length")];
        self.reader.read_exact(&mut body).await?;
        Ok(body)
    }

    /// Reads the head of a stream, which must come next, and returns the stream.
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
    pub async fn message(&mut self) -> Result<Record> {
        loop {
            let frame = self.frame().await?;
            assert!(!frame.is("gap"), "{frame:?}");
            if frame.is_message() {
                return Ok(Record::of(&frame));
            }
        }
    }

    /// The next frame of those already read, if there is one.
    pub fn waiting(&mut self) -> Option<Frame> {
        self.waiting.pop_front()
    }

    /// Reads at most `most` bytes of the stream, and returns how many. Complete frames can then be taken.
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

/// Opens streams that are read up to their `ready` event, and no further.
pub async fn hang(base: &str, count: usize, query: &str) -> Vec<RawStream> {
    let open = async || {
        let mut stream = RawStream::open_slow(base, query).await?;
        while !stream.frame().await?.is("ready") {}
        Result::Ok(stream)
    };
    within(LIMIT, "streams open", try_join_all((0..count).map(|_| open()))).await.expect("streams")
}
