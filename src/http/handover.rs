//! Taking a connection over from hyper, once it has sent the head of a stream.
//!
//! hyper keeps two buffers of 8 KiB for as long as a connection lives, and its state beside
//! them; a stream needs neither, and waits for days. So the body of a stream's answer is a
//! placeholder. When hyper polls it, the head has been encoded; when all of that has been
//! written, the socket is taken out of hyper's hands and the stream goes on by itself.
//!
//! Invariant: nothing that hyper was given to send is lost. It flushes its socket only when
//! nothing is left in its buffer, and encodes nothing after the head while the body has no
//! data: so a flush after the body was first polled means that all of it has been written.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::feed::Feed;

/// Where a connection's handler leaves the stream that is to take the connection over.
#[derive(Clone, Debug, Default)]
pub(super) struct Handover(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    feed: Mutex<Option<Box<Feed>>>,
    /// Whether hyper has had nothing left to write since the feed was left here.
    flushed: AtomicBool,
}

impl Handover {
    /// The body of an answer after whose head `feed` takes the connection over.
    pub(super) fn body(&self, feed: Feed) -> Body {
        Body::new(Placeholder { feed: Some(Box::new(feed)), handover: self.clone() })
    }

    /// What takes the connection over now. Ask after hyper was polled.
    pub(super) fn take(&self) -> Option<Box<Feed>> {
        if !self.0.flushed.load(Ordering::Relaxed) {
            return None;
        }
        self.0.feed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Has no data, and no end.
struct Placeholder {
    feed: Option<Box<Feed>>,
    handover: Handover,
}

impl hyper::body::Body for Placeholder {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(feed) = self.feed.take() {
            let Place { feed: place, flushed } = &*self.handover.0;
            flushed.store(false, Ordering::Relaxed);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(feed);
        }
        // Whoever polls the connection looks into the place, so nothing need wake it.
        Poll::Pending
    }
}

/// The socket while hyper has it. One task polls it and the body, so the order of loads and
/// stores is that of the program.
pub(super) struct Lent {
    socket: TokioIo<TcpStream>,
    handover: Handover,
}

impl Lent {
    pub(super) fn new(socket: TcpStream, handover: Handover) -> Self {
        Self { socket: TokioIo::new(socket), handover }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.socket.into_inner()
    }
}

impl Read for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Write for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handover.0.flushed.store(true, Ordering::Relaxed);
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
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }
}
