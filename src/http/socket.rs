//! The socket of a connection while hyper uses it.
//!
//! The wrapper changes two things:
//! - A `>` in the first request line reaches hyper as `%3E`: people type `?subject=agent.>`, which RFC 3986
//!   does not allow and hyper refuses. Later request lines stay unchanged: only hyper knows where a request
//!   begins, and to disagree with it would allow request smuggling.
//! - hyper's own refusals have no body. They are not sent; [`raw_problem`](super::raw_problem) sends a
//!   problem document instead.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::takeover::Takeover;

/// How many bytes of the first line are read at a time.
const PIECE: usize = 512;
/// The escape of `>` in a URI (RFC 3986).
const ESCAPED: &[u8] = b"%3E";

/// The socket while hyper uses it. One task polls the socket and the body, so the takeover needs only relaxed
/// atomics.
pub(super) struct ConnectionSocket<S> {
    socket: TokioIo<S>,
    takeover: Takeover,
    first_line: FirstLine,
    /// The status of a refusal by hyper itself.
    refused: Option<StatusCode>,
}

/// How much of the connection's first line has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLine {
    /// Nothing has arrived, except perhaps empty lines (RFC 9112, section 2.2).
    Pending,
    /// A part of the line has arrived.
    Partial,
    /// The whole line has arrived.
    Complete,
}

impl FirstLine {
    /// Copies the bytes that arrived, with each `>` of the first line escaped.
    fn escape(&mut self, arrived: &[u8], mut put: impl FnMut(&[u8])) {
        for (at, byte) in arrived.iter().enumerate() {
            match byte {
                b'\r' | b'\n' if *self == Self::Pending => put(&[*byte]),
                b'\n' => {
                    *self = Self::Complete;
                    return put(&arrived[at..]);
                }
                b'>' => put(ESCAPED),
                other => {
                    *self = Self::Partial;
                    put(&[*other]);
                }
            }
        }
    }
}

impl<S> ConnectionSocket<S> {
    pub(super) fn new(socket: S, takeover: Takeover) -> Self {
        let socket = TokioIo::new(socket);
        Self { socket, takeover, first_line: FirstLine::Pending, refused: None }
    }

    /// Returns the socket, and the status of hyper's own refusal if there was one.
    pub(super) fn into_inner(self) -> (S, Option<StatusCode>) {
        (self.socket.into_inner(), self.refused)
    }

    /// Whether these bytes begin a refusal by hyper itself, which has no body; all responses of this
    /// server have one.
    fn is_withheld(&mut self, bytes: &[u8]) -> bool {
        if self.refused.is_none()
            && bytes.starts_with(b"HTTP/1.")
            && bytes.get(8..10) == Some(b" 4")
        {
            let status = bytes.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok());
            let empty = memchr::memmem::find(bytes, b"\r\ncontent-length: 0\r\n").is_some();
            self.refused = status.filter(|_| empty);
        }
        self.refused.is_some()
    }
}

impl<S: AsyncRead + Unpin> Read for ConnectionSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let room = PIECE.min(buf.remaining() / ESCAPED.len());
        if this.first_line == FirstLine::Complete || room == 0 {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        let mut piece = [0; PIECE];
        let mut arrived = ReadBuf::new(&mut piece[..room]);
        ready!(Pin::new(&mut this.socket).poll_read(cx, arrived.unfilled()))?;
        this.first_line.escape(arrived.filled(), |bytes| buf.put_slice(bytes));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for ConnectionSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_withheld(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.takeover.flushed();
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if parts.first().is_some_and(|head| self.is_withheld(head)) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(pieces: &[&str]) -> String {
        let (mut line, mut out) = (FirstLine::Pending, Vec::new());
        for piece in pieces {
            if line == FirstLine::Complete {
                out.extend_from_slice(piece.as_bytes());
            } else {
                line.escape(piece.as_bytes(), |bytes| out.extend_from_slice(bytes));
            }
        }
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_first_line_alone_is_escaped_however_it_comes() {
        let asked = "\r\nGET /v1/stream?subject=agent.>&x=>> HTTP/1.1\r\nx: >\r\n\r\nGET />";
        let read = "\r\nGET /v1/stream?subject=agent.%3E&x=%3E%3E HTTP/1.1\r\nx: >\r\n\r\nGET />";
        assert_eq!(escaped(&[asked]), read);
        for cut in 0..asked.len() {
            assert_eq!(escaped(&[&asked[..cut], &asked[cut..]]), read, "{cut}");
        }
    }
}
