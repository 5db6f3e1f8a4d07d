//! A socket that fails a write once the client has read nothing for [`UNREAD_TIMEOUT`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::limits::UNREAD_TIMEOUT;

/// The socket of a connection, below TLS.
pub(super) struct TimedSocket {
    socket: TcpStream,
    /// Limits the time for which the client reads nothing.
    unread: Option<Pin<Box<Sleep>>>,
}

impl TimedSocket {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, unread: None }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.socket
    }

    fn with_timeout(
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
        count_unread();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Counts a response that is cut off because its client does not read it.
pub(super) fn count_unread() {
    metrics::counter!("agentbus_http_unread_total").increment(1);
}

impl AsyncRead for TimedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.with_timeout(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.with_timeout(cx, written)
    }
}
