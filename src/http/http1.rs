//! A connection of HTTP/1.1, plain or over TLS.
//!
//! Invariants: the head of a request is limited in time and size. When the server drains, the connection ends after the
//! current response.

use std::error::Error;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use crate::limits::{HEAD_BYTES, HEADER_TIMEOUT};

type BoxError = Box<dyn Error + Send + Sync>;

/// Serves requests on this socket, once it runs.
pub(super) fn connection<T, S>(socket: T, service: S) -> http1::Connection<T, S>
where
    T: Read + Write + Unpin,
    S: HttpService<Incoming, Error: Into<BoxError>, ResBody: 'static>,
    <S::ResBody as Body>::Error: Into<BoxError>,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(socket, service)
}

/// Runs a connection until it ends, or until `interrupt` is ready, whose output is returned.
///
/// # Errors
/// The fault that ended it.
pub(super) async fn run<T, S, O>(
    connection: &mut http1::Connection<T, S>,
    draining: &CancellationToken,
    mut interrupt: impl FnMut(&mut Context<'_>) -> Poll<O>,
) -> hyper::Result<Option<O>>
where
    T: Read + Write + Unpin,
    S: HttpService<Incoming, Error: Into<BoxError>, ResBody: 'static>,
    <S::ResBody as Body>::Error: Into<BoxError>,
{
    let mut drained = pin!(draining.cancelled());
    let mut is_draining = false;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(ended.map(|()| None));
        }
        if let Poll::Ready(output) = interrupt(cx) {
            return Poll::Ready(Ok(Some(output)));
        }
        if !is_draining && drained.as_mut().poll(cx).is_ready() {
            is_draining = true;
            Pin::new(&mut *connection).graceful_shutdown();
            // Polled again, since an idle connection is ready to end at once.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
    .inspect_err(|error| tracing::trace!(%error, "a connection ended with an error"))
}
