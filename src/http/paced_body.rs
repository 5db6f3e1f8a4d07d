//! The body of a response over HTTP/2, in pieces, so that it is known what the client has taken.
//!
//! Invariant: hyper asks for the next piece only when the one before has room in the client's windows. The last piece
//! is one byte, so once that has room, all of the body has: the task that sends the response lasts as long as anything
//! waits for the client, and a client that takes nothing is noticed ([`Cutoff`]).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::cutoff::Cutoff;
use crate::limits::HTTP2_PIECE;

/// A body in pieces.
pub(super) struct PacedBody<B> {
    body: B,
    /// What the body has given and HTTP/2 has not got.
    rest: Bytes,
    cutoff: Cutoff,
}

impl<B> PacedBody<B> {
    pub(super) fn new(body: B, cutoff: Cutoff) -> Self {
        Self { body, rest: Bytes::new(), cutoff }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.cutoff.taken();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                // No response of this server has trailers.
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let left = self.rest.len();
        let is_end = self.body.is_end_stream() && left <= HTTP2_PIECE;
        let piece = if is_end && left > 1 { left - 1 } else { left.min(HTTP2_PIECE) };
        let piece = self.rest.split_to(piece);
        self.cutoff.offered();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    #[tokio::test]
    async fn a_body_comes_whole_in_pieces_and_its_last_one_is_a_byte() {
        for size in [0, 1, 2, HTTP2_PIECE, HTTP2_PIECE + 1, 3 * HTTP2_PIECE + 7] {
            let whole: Bytes = (0..size).map(|n| n as u8).collect();
            let mut body = PacedBody::new(Full::new(whole.clone()), Cutoff::default());
            assert_eq!(body.is_end_stream(), size == 0);
            let mut pieces: Vec<Bytes> = Vec::new();
            while let Some(frame) = body.frame().await {
                pieces.push(frame.expect("no error").into_data().expect("data"));
                let sent: usize = pieces.iter().map(Bytes::len).sum();
                assert_eq!(body.size_hint().exact(), Some((size - sent) as u64));
            }
            assert!(body.is_end_stream());
            assert_eq!(pieces.concat(), whole);
            assert!(pieces.iter().all(|piece| piece.len() <= HTTP2_PIECE));
            assert!(pieces.last().is_none_or(|last| last.len() == 1));
        }
    }
}
