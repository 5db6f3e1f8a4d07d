//! Serves a connection over TLS, by HTTP/2 or HTTP/1.1 as the client prefers.
//!
//! Invariants: a client that takes too long for the handshake, or does not speak TLS, is disconnected; the second one
//! is told why. Streams take the ordinary body here.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apps::Apps;
use super::cutoff::Cutoff;
use super::peer::Peer;
use super::raw_problem;
use super::socket::ConnectionSocket;
use super::takeover::Takeover;
use super::timed_socket::TimedSocket;
use super::{http1, http2};
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::tls::{ALPN_HTTP2, TlsServer};

/// The first byte of a TLS connection: a record of type handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Serves requests until the connection ends.
pub(super) async fn serve(
    socket: TcpStream,
    peer: Arc<Peer>,
    apps: Arc<Apps>,
    tls: &TlsServer,
    (draining, tracker): (CancellationToken, TaskTracker),
) {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(socket, tls));
    let socket = match draining.run_until_cancelled(handshake).await {
        Some(Ok(Ok(Some(socket)))) => socket,
        Some(Ok(Err(error))) => {
            metrics::counter!("agentbus_tls_handshakes_failed_total").increment(1);
            return tracing::debug!(%error, "a TLS handshake failed");
        }
        Some(Err(_)) => return tracing::debug!("a client was too slow for the TLS handshake"),
        Some(Ok(Ok(None))) | None => return,
    };
    if socket.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
        http2::serve(socket, peer, apps, draining, tracker).await;
    } else {
        serve_http1(socket, peer, apps, draining).await;
    }
}

/// `None` for a client that does not speak TLS, or leaves without a byte, as a probe of the port does.
async fn handshake(
    socket: TcpStream,
    tls: &TlsServer,
) -> io::Result<Option<TlsStream<TimedSocket>>> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first[0] != HANDSHAKE_RECORD {
        raw_problem::send_no_tls(socket).await;
        return Ok(None);
    }
    TlsAcceptor::from(tls.config()).accept(TimedSocket::new(socket)).await.map(Some)
}

async fn serve_http1(
    socket: TlsStream<TimedSocket>,
    peer: Arc<Peer>,
    apps: Arc<Apps>,
    draining: CancellationToken,
) {
    let cutoff = Cutoff::default();
    let mut timer = cutoff.timer();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(cutoff.clone());
        let (apps, peer) = (Arc::clone(&apps), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(apps.answer(request, &peer).await) }
    });
    let socket = ConnectionSocket::new(socket, Takeover::default());
    let mut connection = http1::connection(socket, service);
    let ended = http1::run(&mut connection, &draining, |cx| timer.poll(cx)).await;
    if ended.is_err()
        && let (socket, Some(status)) = connection.into_parts().io.into_inner()
    {
        raw_problem::send(socket, status).await;
    }
}
