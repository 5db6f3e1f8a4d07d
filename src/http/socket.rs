//! The socket of a connection, while hyper has it.
//!
//! hyper sees what the client sent but for one thing, and the client sees what hyper writes but for another:
//! - A `>` in the first request line reaches hyper as `%3E`. People type `?subject=agent.>`, RFC 3986 does not allow it,
//!   and hyper refuses it. Later lines are left alone: where one begins is for hyper to say, and to differ from
//!   it would be request smuggling.
//! - What hyper refuses by itself has no body. It is kept back, so that a problem document can be sent.
//!
//! Invariant: a client that takes none of an answer for [`UNREAD_TIMEOUT`] is cut off.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::handover::Handover;
use crate::limits::UNREAD_TIMEOUT;

/// What is read at once of a first line.
const PIECE: usize = 512;
/// How a `>` is written in an address.
const ESCAPED: &[u8] = b"%3E";

/// The socket while hyper has it. One task polls it and the body, so the order of loads and
/// stores is that of the program.
pub(super) struct Lent {
    socket: TokioIo<TcpStream>,
    handover: Handover,
    /// Where the first line of all is.
    first_line: FirstLine,
    /// What hyper refused by itself.
    refused: Option<StatusCode>,
    /// Runs while the client takes nothing of what it is sent.
    unread: Option<Pin<Box<Sleep>>>,
}

/// How much of the connection's first line has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLine {
    /// None, but maybe empty lines (RFC 9112, section 2.2).
    Ahead,
    /// Some.
    Begun,
    /// All.
    Over,
}

impl FirstLine {
    /// Copies what came, with each `>` of the first line escaped.
    fn escape(&mut self, came: &[u8], mut put: impl FnMut(&[u8])) {
        for (at, byte) in came.iter().enumerate() {
            match byte {
                b'\r' | b'\n' if *self == Self::Ahead => put(&[*byte]),
                b'\n' => {
                    *self = Self::Over;
                    return put(&came[at..]);
                }
                b'>' => put(ESCAPED),
                other => {
                    *self = Self::Begun;
                    put(&[*other]);
                }
            }
        }
    }
}

impl Lent {
    pub(super) fn new(socket: TcpStream, handover: Handover) -> Self {
        let socket = TokioIo::new(socket);
        Self { socket, handover, first_line: FirstLine::Ahead, refused: None, unread: None }
    }

    /// The socket, and what hyper refused by itself: the client has not been answered.
    pub(super) fn into_inner(self) -> (TcpStream, Option<StatusCode>) {
        (self.socket.into_inner(), self.refused)
    }

    /// Whether this is the beginning of an answer of hyper's own; ours have a body whenever they refuse.
    fn keeps_back(&mut self, bytes: &[u8]) -> bool {
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

    /// Gives up on a client that takes nothing.
    fn watched(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let timer = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD_TIMEOUT)));
        ready!(timer.as_mut().poll(cx));
        metrics::counter!("agentbus_http_unread_total").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let room = PIECE.min(buf.remaining() / ESCAPED.len());
        if this.first_line == FirstLine::Over || room == 0 {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        let mut piece = [0; PIECE];
        let mut came = ReadBuf::new(&mut piece[..room]);
        ready!(Pin::new(&mut this.socket).poll_read(cx, came.unfilled()))?;
        this.first_line.escape(came.filled(), |bytes| buf.put_slice(bytes));
        Poll::Ready(Ok(()))
    }
}

impl Write for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watched(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handover.flushed();
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
        if parts.first().is_some_and(|head| self.keeps_back(head)) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.watched(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(pieces: &[&str]) -> String {
        let (mut line, mut out) = (FirstLine::Ahead, Vec::new());
        for piece in pieces {
            if line == FirstLine::Over {
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
