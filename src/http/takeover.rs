//! Takes a connection over from hyper, once that has sent the head of a stream.
//!
//! hyper keeps two buffers of 8 KiB and its state for as long as a connection lives; a stream lives for days and needs
//! neither. So the body of a stream's response is a placeholder. When hyper polls it, the head has been encoded; when
//! all of the head has been written, the socket is taken from hyper and the stream goes on by itself.
//!
//! Invariant: nothing that hyper was given to send is lost. It flushes its socket only when its buffer is empty, and
//! encodes nothing after the head while the body has no data: so a flush after the body was first polled means that
//! the whole head has been written.

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

/// Where the handler of a connection's request leaves the stream that takes the connection over.
#[derive(Clone, Debug, Default)]
pub(super) struct Takeover(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    writer: Mutex<Option<Box<StreamWriter>>>,
    /// Whether hyper has flushed everything since the writer was left here.
    flushed: AtomicBool,
}

impl Takeover {
    /// The body of a response after whose head `writer` takes the connection over.
    pub(super) fn body(&self, writer: StreamWriter) -> Body {
        Body::new(Placeholder { writer: Some(Box::new(writer)), takeover: self.clone() })
    }

    /// Notes that hyper has nothing left to write.
    pub(super) fn flushed(&self) {
        self.0.flushed.store(true, Ordering::Relaxed);
    }

    /// The stream that takes the connection over now. To be called after hyper was polled.
    pub(super) fn take(&self) -> Option<Box<StreamWriter>> {
        if !self.0.flushed.load(Ordering::Relaxed) {
            return None;
        }
        self.0.writer.lock().take()
    }
}

/// Has no data, and no end.
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
        // The task that polls the connection looks into the slot, so nothing need wake it.
        Poll::Pending
    }
}
