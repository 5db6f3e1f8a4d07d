//! Takes a connection over from hyper after it has sent the head of a stream.
//!
//! hyper keeps two buffers of 8 KiB and its state for the life of a connection. A stream lives for days and
//! needs neither. So the body of its response is a placeholder without data. When hyper polls that body, it
//! has encoded the head; when it has then flushed the socket, the socket is taken from hyper and a
//! [`StreamWriter`] continues.
//!
//! Invariant: no byte of the head is lost. hyper flushes its socket only when its buffer is empty, and
//! encodes nothing after the head while the body has no data. So a flush after the first poll of the body
//! means that the whole head has been written.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use parking_lot::Mutex;

use super::stream_writer::StreamWriter;

/// The slot of a connection for the stream that takes it over.
#[derive(Clone, Debug, Default)]
pub(super) struct Takeover(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    writer: Mutex<Option<Box<StreamWriter>>>,
    /// Whether hyper has flushed everything since the writer was set.
    flushed: AtomicBool,
}

impl Takeover {
    /// A placeholder for the body of a response. `writer` takes over the connection after the head.
    pub(super) fn body(&self, writer: StreamWriter) -> Body {
        Body::new(Placeholder { writer: Some(Box::new(writer)), takeover: self.clone() })
    }

    /// Records that hyper has flushed the socket.
    pub(super) fn flushed(&self) {
        self.0.flushed.store(true, Ordering::Relaxed);
    }

    /// The stream that takes over the connection, if the head has been written. Call it after hyper was
    /// polled.
    pub(super) fn take(&self) -> Option<Box<StreamWriter>> {
        if !self.0.flushed.load(Ordering::Relaxed) {
            return None;
        }
        self.0.writer.lock().take()
    }
}

/// A body without data that never ends.
struct Placeholder {
    writer: Option<Box<StreamWriter>>,
    takeover: Takeover,
}

impl hyper::body::Body for Placeholder {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(writer) = self.writer.take() {
            let slot = &*self.takeover.0;
            slot.flushed.store(false, Ordering::Relaxed);
            *slot.writer.lock() = Some(writer);
        }
        // The task that polls this body also checks the slot, so no wake is needed.
        Poll::Pending
    }
}
