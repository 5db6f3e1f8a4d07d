//! One connection, one request at a time, over HTTP/1.1 kept alive.
//!
//! It writes requests that are bytes already, and reads of an answer what is needed: its status, its
//! length, its body. A whole HTTP client costs several times as much a request, on the machine that is
//! being measured.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::address::Address;
use super::error::BenchError;
use super::limits::{ANSWER_BYTES, ANSWER_TIMEOUT, CONNECT_TIMEOUT, FIRST_ANSWER_BYTES};

/// An open connection and what was read from it.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head, the empty line included.
    bytes: usize,
    /// Bytes of the body.
    length: usize,
    /// Whether the connection goes on after it.
    keeps: bool,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
    /// Whether another request can follow.
    pub keeps: bool,
}

/// Opens a socket that sends small requests at once.
///
/// # Errors
/// The system's, or none within [`CONNECT_TIMEOUT`].
pub async fn connect(address: &Address) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(address.socket());
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn open(address: &Address) -> io::Result<Self> {
        let stream = connect(address).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(FIRST_ANSWER_BYTES) })
    }

    /// Sends a request and waits for its answer. After an error the connection is of no use.
    ///
    /// # Errors
    /// The connection broke, nothing came in time, or what came is no answer with a length.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        let head = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s"))??;
        let body = &self.buffer[head.bytes..head.bytes + head.length];
        Ok(Answer { status: head.status, body, keeps: head.keeps })
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Head> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = head(&self.buffer)?
                && self.buffer.len() >= head.bytes + head.length
            {
                return Ok(head);
            }
            if self.buffer.len() > ANSWER_BYTES {
                return Err(no_answer());
            }
        }
    }
}

/// `GET path`, on a connection of its own.
///
/// # Errors
/// The server cannot be reached, or does not answer in time.
pub async fn get(address: &Address, path: &str) -> Result<(u16, Vec<u8>), BenchError> {
    let request = format!("{}Connection: close\r\n\r\n", address.head("GET", path));
    let answered = async {
        let mut connection = Connection::open(address).await?;
        let answer = connection.send(request.as_bytes()).await?;
        Ok((answer.status, answer.body.to_vec()))
    };
    answered.await.map_err(|cause| BenchError::Unreachable { address: address.to_string(), cause })
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an answer of agentbus")
}

/// Reads a head once all of it is there (RFC 9112, sections 4 to 6).
fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| no_answer())?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut head =
        Head { status: status.ok_or_else(no_answer)?, bytes: end + 4, length: 0, keeps: true };
    let mut has_length = matches!(head.status, 204 | 304);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            head.length = value.trim().parse().map_err(|_| no_answer())?;
            has_length = true;
        } else if name.eq_ignore_ascii_case("connection") {
            head.keeps = !value.trim().eq_ignore_ascii_case("close");
        }
    }
    if has_length { Ok(Some(head)) } else { Err(no_answer()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n{\"seq\":1}";
        for cut in 0..answer.len() - 9 {
            assert_eq!(head(&answer[..cut]).expect("part of one"), None, "{cut}");
        }
        let whole = head(answer).expect("one").expect("whole");
        assert_eq!((whole.status, whole.length, whole.keeps), (201, 12, true));
        assert_eq!(&answer[whole.bytes..], b"{\"seq\":1}");
    }

    #[test]
    fn what_has_no_length_or_closes_is_seen() {
        let close = head(b"HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert!(close.expect("one").is_some_and(|head| !head.keeps && head.status == 503));
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 204 No Content\r\n\r\n").expect("one").is_some());
    }
}
