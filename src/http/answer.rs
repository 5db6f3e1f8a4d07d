//! An answer on its way: what its request uses is counted until the last byte of it is written.
//!
//! Invariant: hyper lets go of a body's bytes when the socket has taken them, so whoever owns them knows.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};

use super::work::Work;
use crate::limits::SMALL_RESPONSE_BYTES;

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    work: Option<Work>,
}

impl Answer {
    /// Counts the answer to a request. `repeatable`: it may be refused, since asking again does no harm. Small
    /// ones never are: a refusal would be as large.
    pub(super) fn counted(response: Response, work: Work, repeatable: bool) -> Response<Self> {
        let bytes = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        let response = match work.answer(bytes) {
            Ok(()) => response,
            Err(refusal) if repeatable && bytes > SMALL_RESPONSE_BYTES => refusal.into_response(),
            Err(_) => {
                work.must_answer(bytes);
                response
            }
        };
        response.map(|body| Self { body, work: Some(work) })
    }

    /// A small answer to a request that was not let in.
    pub(super) fn uncounted(response: Response) -> Response<Self> {
        response.map(|body| Self { body, work: None })
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // What comes in one piece is all there is: the permits go with it.
        if !self.body.is_end_stream() {
            return polled;
        }
        let Some(work) = self.work.take() else { return polled };
        polled
            .map_ok(|frame| frame.map_data(|bytes| Bytes::from_owner(Last { bytes, _work: work })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The last bytes of an answer.
struct Last {
    bytes: Bytes,
    _work: Work,
}

impl AsRef<[u8]> for Last {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
