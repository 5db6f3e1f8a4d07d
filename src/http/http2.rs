//! Serves a connection over HTTP/2 (RFC 9113): many requests at once, each in a task.
//!
//! Invariants: what one connection holds is bounded by the number of its streams and by its windows. A response that the
//! client does not take is cut off alone ([`Cutoff`]). A connection without a request for 30 to 60 s is ended: hyper
//! limits the time of none. Clients that vanish are noticed by TCP, as for all connections, so no pings are sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, interval_at};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apps::Apps;
use super::cutoff::Cutoff;
use super::paced_body::PacedBody;
use super::peer::Peer;
use super::timed_socket::TimedSocket;
use crate::limits::{
    HEAD_BYTES, HEADER_TIMEOUT, HTTP2_FAULTY_STREAMS, HTTP2_PENDING_RESETS, HTTP2_SEND_BUFFER,
    HTTP2_STREAMS, HTTP2_WINDOW,
};

tokio::task_local! {
    /// Of the response that the current task sends.
    static CUTOFF: Cutoff;
}

/// Serves requests until the connection ends.
pub(super) async fn serve(
    socket: TlsStream<TimedSocket>,
    peer: Arc<Peer>,
    apps: Arc<Apps>,
    draining: CancellationToken,
    tracker: TaskTracker,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let (apps, peer) = (Arc::clone(&apps), Arc::clone(&peer));
        async move {
            let cutoff = CUTOFF.try_with(Clone::clone).unwrap_or_default();
            request.extensions_mut().insert(cutoff.clone());
            let response = apps.answer(request, &peer).await;
            Ok::<_, Infallible>(response.map(|body| PacedBody::new(body, cutoff)))
        }
    });
    let activity = Arc::<Activity>::default();
    let mut connection = http2::Builder::new(Requests { tracker, activity: Arc::clone(&activity) })
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES as u32)
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .max_local_error_reset_streams(HTTP2_FAULTY_STREAMS)
        .serve_connection(TokioIo::new(socket), service);
    let mut drained = std::pin::pin!(draining.cancelled().fuse());
    let mut looks = interval_at(Instant::now() + HEADER_TIMEOUT, HEADER_TIMEOUT);
    let (mut seen, mut is_ending) = (0, false);
    let ended = std::future::poll_fn(|cx| {
        let mut is_due = drained.as_mut().poll(cx).is_ready();
        while looks.poll_tick(cx).is_ready() {
            let is_idle = activity.is_idle_since(&mut seen);
            if is_idle && is_ending {
                // The client does not confirm the end.
                return Poll::Ready(Ok(()));
            }
            is_due |= is_idle;
        }
        if is_due {
            is_ending = true;
            // A GOAWAY frame: the client opens no more streams, and the open ones end by themselves.
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::trace!(%error, "a connection ended with an error");
    }
}

/// The requests of a connection.
#[derive(Default)]
struct Activity {
    open: AtomicUsize,
    begun: AtomicUsize,
}

impl Activity {
    /// Whether no request was open since `seen`, the number of requests that had begun at the last look.
    fn is_idle_since(&self, seen: &mut usize) -> bool {
        let begun = self.begun.load(Ordering::Relaxed);
        std::mem::replace(seen, begun) == begun && self.open.load(Ordering::Relaxed) == 0
    }
}

/// Runs each request in a task. The task ends with the connection, since hyper wakes it then.
#[derive(Clone)]
struct Requests {
    tracker: TaskTracker,
    activity: Arc<Activity>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, sending: F) {
        let open = Open::new(&self.activity);
        let cutoff = Cutoff::default();
        let limited = cutoff.timer().limit(sending);
        self.tracker.spawn(CUTOFF.scope(cutoff, async move {
            limited.await;
            drop(open);
        }));
    }
}

/// Counts a request while it is open.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
