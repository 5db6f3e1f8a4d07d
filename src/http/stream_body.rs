//! A stream as an ordinary body, on connections that no [`StreamWriter`](super::stream_writer::StreamWriter) can take
//! over: those with TLS.
//!
//! Invariant: the body is the only queue, and nothing is read ahead of it. While hyper does not poll it, since the client
//! does not read, its subscription is not polled either.

use std::convert::Infallible;

use axum::body::Body;
use futures_util::stream;

use super::frame;
use super::request::WaitPermit;
use crate::services::Drain;
use crate::services::streams::Subscription;

/// A body of events, until the server drains or the subscription ends.
pub(super) fn events(subscription: Subscription, drain: Drain, permit: WaitPermit) -> Body {
    let drained = Box::pin(async move { drain.end_of_wait().await });
    let events = stream::unfold((subscription, drained, permit), |mut state| async move {
        // Yields now and then: a client that reads as fast as events come must not starve other tasks.
        tokio::task::coop::consume_budget().await;
        let (subscription, drained, _) = &mut state;
        let item = tokio::select! {
            biased;
            () = drained => None,
            item = subscription.next() => item,
        };
        Some((Ok::<_, Infallible>(frame::encode(item?)), state))
    });
    Body::from_stream(events)
}
