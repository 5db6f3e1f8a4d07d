//! The accept loop.
//!
//! Invariants: the number of connections is limited; a client that sends the head of a request too slowly is
//! disconnected; every connection is a tracked task that ends when the server drains. (axum's own loop limits
//! neither connections nor time.)

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::apps::{AppSlot, Apps};
use super::http1;
use super::peer::Peer;
use super::raw_problem;
use super::secure;
use super::shares::Shares;
use super::socket::ConnectionSocket;
use super::stream_writer::StreamWriter;
use super::takeover::Takeover;
use super::timed_socket::TimedSocket;
use crate::config::HttpConfig;
use crate::limits::{FAULT_PAUSE, LISTEN_BACKLOG, SEND_BUFFER, TCP_KEEPALIVE, TCP_USER_TIMEOUT};
use crate::tls::TlsServer;

/// A bound socket and what it serves.
pub struct Listener {
    socket: TcpListener,
    connections: Arc<Semaphore>,
    shares: Arc<Shares>,
    apps: Arc<Apps>,
    tls: Option<Arc<TlsServer>>,
}

/// Prints the only line on standard output: the address that the server listens on.
pub fn announce(addr: SocketAddr, is_tls: bool) {
    use std::io::Write as _;
    let scheme = if is_tls { "https" } else { "http" };
    let mut out = io::stdout().lock();
    // Standard output may be closed; the log has the address too.
    let _ = writeln!(out, "agentbus listening on {scheme}://{addr}").and_then(|()| out.flush());
}

impl Listener {
    /// Binds the address. Connections speak TLS if there is a `tls`.
    ///
    /// # Errors
    /// The error of the system, for instance when the address is in use.
    pub async fn bind(
        config: &HttpConfig,
        tls: Option<Arc<TlsServer>>,
        starting: App,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: listen(config.addr)?,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            shares: Shares::new(config.max_connections, config.trusted_proxies.clone()),
            apps: Apps::new(starting),
            tls,
        })
    }

    /// The bound address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The error of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Where to put the app once the server has started.
    #[must_use]
    pub fn app_slot(&self) -> AppSlot {
        self.apps.slot()
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
            let apps = Arc::clone(&self.apps);
            if let Some(tls) = &self.tls {
                let (tls, ending) = (Arc::clone(tls), (draining.clone(), tracker.clone()));
                tracker.spawn(async move {
                    secure::serve(stream, peer, apps, &tls, ending).await;
                    drop(permit);
                });
                continue;
            }
            let connection = serve(stream, peer, apps, draining.clone());
            let streams = tracker.clone();
            tracker.spawn(async move {
                if let Some(Stream { writer, socket, is_silent }) = connection.await {
                    // A stream gets a new task, much smaller than the one that contains
                    // hyper's state.
                    streams.spawn(async move {
                        writer.run(socket, is_silent).await;
                        drop(permit);
                    });
                }
            });
        }
        drop(self.socket);
        tracker.close();
        tracker.wait().await;
    }

    /// Accepts one connection, once there is a permit for it. Until then connections wait in the kernel's
    /// backlog.
    async fn accept(&self) -> Option<(TcpStream, Arc<Peer>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        match self.socket.accept().await {
            Ok((stream, address)) => {
                let peer = Peer::admit(&self.shares, address.ip());
                tune(&stream);
                // A refused connection is closed without a response: any status would stop an
                // `EventSource` for good.
                Some((stream, peer.ok()?, permit))
            }
            Err(error) => {
                // Most likely the process has no free file descriptor; one is free again when
                // another connection ends.
                tracing::warn!(%error, "a connection could not be accepted; retrying. Raise the limit of open files if this lasts");
                tokio::time::sleep(FAULT_PAUSE).await;
                None
            }
        }
    }
}

/// Like [`TcpListener::bind`], with a backlog for many clients that reconnect at once.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows this option would let another program bind the same port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(LISTEN_BACKLOG)
}

/// Sets socket options: small writes are sent at once, half-open connections are detected, unread output is
/// limited.
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
    apps: Arc<Apps>,
    draining: CancellationToken,
) -> Option<Stream> {
    let takeover = Takeover::default();
    let for_requests = takeover.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        // Only streams take over the connection: GET, and HEAD, which axum routes as GET.
        if request.method().is_safe() {
            request.extensions_mut().insert(for_requests.clone());
        }
        let (apps, peer) = (Arc::clone(&apps), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(apps.answer(request, &peer).await) }
    });
    let socket = ConnectionSocket::new(TimedSocket::new(socket), takeover.clone());
    let mut connection = http1::connection(socket, service);
    let taken = |_: &mut Context<'_>| takeover.take().map_or(Poll::Pending, Poll::Ready);
    match http1::run(&mut connection, &draining, taken).await {
        Ok(Some(writer)) => {
            let parts = connection.into_parts();
            let is_silent = parts.read_buf.is_empty();
            Some(Stream { writer, socket: parts.io.into_inner().0.into_inner(), is_silent })
        }
        Ok(None) => None,
        Err(_) => {
            if let (socket, Some(status)) = connection.into_parts().io.into_inner() {
                // Boxed, since every connection would carry the size of this future.
                Box::pin(raw_problem::send(socket.into_inner(), status)).await;
            }
            None
        }
    }
}

/// A stream and the connection that it has taken over.
struct Stream {
    writer: Box<StreamWriter>,
    socket: TcpStream,
    /// Whether nothing arrived after the request.
    is_silent: bool,
}
