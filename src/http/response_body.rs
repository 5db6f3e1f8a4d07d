//! Response bodies that keep the permits of their request until the last byte is written.
//!
//! Invariant: hyper drops the bytes of a body when the socket has accepted them, and that drop releases the
//! permits.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};

use super::problem::Problem;
use super::request::RequestContext;
use crate::limits::SMALL_RESPONSE_BYTES;

/// A body that keeps the permits of its request.
pub(super) struct CountedBody {
    body: Body,
    /// `None` for the small response to a request that was refused before it had a context.
    context: Option<RequestContext>,
}

impl CountedBody {
    pub(super) fn new(body: Body, context: Option<RequestContext>) -> Self {
        Self { body, context }
    }

    /// Counts the bytes of a response. At the limit, a `repeatable` request is refused, since the client
    /// can repeat it, unless the response is so small that the refusal would be as large.
    ///
    /// # Errors
    /// The refusal to send instead of the response.
    pub(super) fn reserve(
        response: &Response,
        context: &RequestContext,
        repeatable: bool,
    ) -> Result<(), Problem> {
        let bytes = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        match context.reserve_response(bytes) {
            Err(refusal) if repeatable && bytes > SMALL_RESPONSE_BYTES => return Err(refusal),
            Err(_) => context.force_response(bytes),
            Ok(()) => {}
        }
        Ok(())
    }
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // The last frame gets the permits: they are released when its bytes are dropped.
        if !self.body.is_end_stream() {
            return polled;
        }
        let Some(context) = self.context.take() else { return polled };
        polled.map_ok(|frame| {
            frame.map_data(|bytes| Bytes::from_owner(LastBytes { bytes, _context: context }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The last bytes of a response; dropping them releases the permits.
struct LastBytes {
    bytes: Bytes,
    _context: RequestContext,
}

impl AsRef<[u8]> for LastBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
