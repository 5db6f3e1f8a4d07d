//! A minimal HTTP/1.1 client: one persistent connection, one request at a time.
//!
//! Requests are encoded beforehand; of a response only status, length and body are read. A complete HTTP client
//! takes several times the processor time for each request, on the machine that is being measured.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::address::Address;
use super::error::BenchError;
use super::limits::{CONNECT_TIMEOUT, MAX_RESPONSE_BYTES, RESPONSE_BUFFER_BYTES, RESPONSE_TIMEOUT};

/// An open connection and its read buffer.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head, including the empty line.
    bytes: usize,
    /// Bytes of the body.
    length: usize,
    /// Whether the connection persists.
    keep_alive: bool,
}

/// A response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
    /// Whether the connection takes another request.
    pub keep_alive: bool,
}

/// The status and the first 300 bytes of the body, for error texts.
#[must_use]
pub fn describe(status: u16, body: &[u8]) -> String {
    format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
}

/// Opens a socket with `TCP_NODELAY`, so that small requests are sent without delay.
///
/// # Errors
/// The connection is refused, or not made within [`CONNECT_TIMEOUT`].
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
    /// Those of [`connect`].
    pub async fn open(address: &Address) -> io::Result<Self> {
        let stream = connect(address).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(RESPONSE_BUFFER_BYTES) })
    }

    /// Sends a request and waits for its response. After an error the connection cannot be used again.
    ///
    /// # Errors
    /// The connection broke, no response came within [`RESPONSE_TIMEOUT`], or the response has no length.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        let head = tokio::time::timeout(RESPONSE_TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no response within 30 s"))??;
        let body = &self.buffer[head.bytes..head.bytes + head.length];
        Ok(Response { status: head.status, body, keep_alive: head.keep_alive })
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Head> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = parse_head(&self.buffer)?
                && self.buffer.len() >= head.bytes + head.length
            {
                return Ok(head);
            }
            if self.buffer.len() > MAX_RESPONSE_BYTES {
                return Err(invalid_response());
            }
        }
    }
}

/// Sends `GET path` on a new connection; returns status and body.
///
/// # Errors
/// The server cannot be reached, or does not respond in time.
pub async fn get(address: &Address, path: &str) -> Result<(u16, Vec<u8>), BenchError> {
    let request = format!("{}Connection: close\r\n\r\n", address.head("GET", path));
    let exchange = async {
        let mut connection = Connection::open(address).await?;
        let response = connection.send(request.as_bytes()).await?;
        Ok((response.status, response.body.to_vec()))
    };
    exchange.await.map_err(|cause| BenchError::Unreachable { address: address.to_string(), cause })
}

fn invalid_response() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a response of agentbus")
}

/// Parses the head; `None` while it is incomplete (RFC 9112, sections 4 to 6).
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid_response())?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut head = Head {
        status: status.ok_or_else(invalid_response)?,
        bytes: end + 4,
        length: 0,
        keep_alive: true,
    };
    let mut has_length = matches!(head.status, 204 | 304);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            head.length = value.trim().parse().map_err(|_| invalid_response())?;
            has_length = true;
        } else if name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !value.trim().eq_ignore_ascii_case("close");
        }
    }
    if has_length { Ok(Some(head)) } else { Err(invalid_response()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed_once_it_is_complete() {
        let response = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n{\"seq\":1}";
        for cut in 0..response.len() - 9 {
            assert_eq!(parse_head(&response[..cut]).expect("part of one"), None, "{cut}");
        }
        let whole = parse_head(response).expect("one").expect("whole");
        assert_eq!((whole.status, whole.length, whole.keep_alive), (201, 12, true));
        assert_eq!(&response[whole.bytes..], b"{\"seq\":1}");
    }

    #[test]
    fn a_response_without_length_is_refused_and_a_close_is_noticed() {
        let close = parse_head(b"HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert!(close.expect("one").is_some_and(|head| !head.keep_alive && head.status == 503));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse_head(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").expect("one").is_some());
    }
}
