//! The accept loop.
//!
//! Invariants: open connections are bounded, a client that sends its head too
//! slowly is dropped, and every connection is a tracked task that ends when the
//! server drains. (axum's own loop bounds neither time nor number.)

use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::feed::Feed;
use super::handover::Handover;
use super::refusal;
use super::shares::Shares;
use super::socket::Lent;
use super::work::Peer;
use crate::config::HttpConfig;
use crate::limits::{
    FAULT_PAUSE, HEAD_BYTES, HEADER_TIMEOUT, LISTEN_BACKLOG, SEND_BUFFER, TCP_KEEPALIVE,
    TCP_USER_TIMEOUT,
};

/// A bound socket and what it serves.
pub struct Listener {
    socket: TcpListener,
    connections: Arc<Semaphore>,
    shares: Arc<Shares>,
    served: Arc<Served>,
}

/// First a "starting" answer, later the app.
struct Served {
    starting: App,
    app: OnceLock<App>,
}

/// Where the app is put once it can serve.
#[derive(Clone)]
pub struct Stage(Arc<Served>);

impl Stage {
    /// Serves the app from now on, on open connections too.
    pub fn open(&self, app: App) {
        let _ = self.0.app.set(app);
    }
}

/// The one line on standard output that says where the server listens.
pub fn announce(addr: SocketAddr) {
    use std::io::Write as _;
    let mut out = io::stdout().lock();
    // Nobody may be reading; the log says it too.
    let _ = writeln!(out, "agentbus listening on http://{addr}").and_then(|()| out.flush());
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// The system's, for instance when the address is in use.
    pub async fn bind(config: &HttpConfig, starting: App) -> io::Result<Self> {
        Ok(Self {
            socket: listen(config.addr)?,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            shares: Shares::new(config.max_connections, config.trusted_proxies.clone()),
            served: Arc::new(Served { starting, app: OnceLock::new() }),
        })
    }

    /// The address bound, with the port that was free.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Where to put the app.
    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage(Arc::clone(&self.served))
    }

    /// Accepts until cancelled, then returns when every connection has ended.
    pub async fn run(self, draining: CancellationToken) {
        let tracker = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            let connection = serve(stream, peer, Arc::clone(&self.served), draining.clone());
            let streams = tracker.clone();
            tracker.spawn(async move {
                if let Some(Stream { feed, socket, silent }) = connection.await {
                    // A task of its own, much smaller than one with all of HTTP in it.
                    streams.spawn(async move {
                        feed.run(socket, silent).await;
                        drop(permit);
                    });
                }
            });
        }
        drop(self.socket);
        tracker.close();
        tracker.wait().await;
    }

    /// One connection, once there is a place for it. Others wait in the backlog.
    async fn accept(&self) -> Option<(TcpStream, Arc<Peer>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        match self.socket.accept().await {
            Ok((stream, address)) => {
                let peer = Peer::admit(&self.shares, address.ip());
                tune(&stream);
                // Without an answer: any status would stop an `EventSource` for good.
                Some((stream, peer.ok()?, permit))
            }
            Err(error) => {
                // Out of file descriptors, most likely: they come back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(FAULT_PAUSE).await;
                None
            }
        }
    }
}

/// As [`TcpListener::bind`] does it, but with room for a crowd that comes back at once.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows it would mean that another program may take the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(LISTEN_BACKLOG)
}

/// Small writes at once; half-open peers noticed; unread output bounded.
fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let _ = stream.set_nodelay(true);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    let _ = socket.set_tcp_keepalive(&keepalive.with_interval(Duration::from_secs(10)));
}

/// Serves requests until the connection ends, or a stream takes it over.
async fn serve(
    socket: TcpStream,
    peer: Arc<Peer>,
    served: Arc<Served>,
    draining: CancellationToken,
) -> Option<Stream> {
    let handover = Handover::default();
    let place = handover.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        // Of what has a stream's route (axum answers HEAD by it too); the rest is spared the cost.
        if request.method().is_safe() {
            request.extensions_mut().insert(place.clone());
        }
        let (served, peer) = (Arc::clone(&served), Arc::clone(&peer));
        async move {
            let app = served.app.get().unwrap_or(&served.starting);
            Ok::<_, Infallible>(app.answer(request, &peer).await)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(Lent::new(socket, handover.clone()), service);
    let mut drained = std::pin::pin!(draining.cancelled().fuse());
    let ended = std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Err(ended));
        }
        if let Some(feed) = handover.take() {
            return Poll::Ready(Ok(feed));
        }
        if drained.as_mut().poll(cx).is_ready() {
            Pin::new(&mut connection).graceful_shutdown();
            // Polled again, since it may have nothing more to do.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    match ended.await {
        Ok(feed) => {
            let parts = connection.into_parts();
            let silent = parts.read_buf.is_empty();
            Some(Stream { feed, socket: parts.io.into_inner().0, silent })
        }
        Err(Ok(())) => None,
        Err(Err(error)) => {
            tracing::trace!(%error, "a connection broke off");
            if let (socket, Some(status)) = connection.into_parts().io.into_inner() {
                // Boxed: every connection would have room for it.
                Box::pin(refusal::send(socket, status)).await;
            }
            None
        }
    }
}

/// A stream and the connection that it has taken over.
struct Stream {
    feed: Box<Feed>,
    socket: TcpStream,
    /// Whether nothing came after the request.
    silent: bool,
}
