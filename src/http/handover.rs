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
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use parking_lot::Mutex;

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

    /// Notes that hyper has nothing left to write.
    pub(super) fn flushed(&self) {
        self.0.flushed.store(true, Ordering::Relaxed);
    }

    /// What takes the connection over now. Ask after hyper was polled.
    pub(super) fn take(&self) -> Option<Box<Feed>> {
        if !self.0.flushed.load(Ordering::Relaxed) {
            return None;
        }
        self.0.feed.lock().take()
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
            *place.lock() = Some(feed);
        }
        // Whoever polls the connection looks into the place, so nothing need wake it.
        Poll::Pending
    }
}
