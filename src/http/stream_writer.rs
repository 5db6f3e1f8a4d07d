//! Writes a stream to the socket of its connection.
//!
//! Invariant: the connection is the only queue. While a client does not read, its subscription is not polled,
//! so it uses no memory and skips nothing. Chunks (RFC 9112, section 7.1) contain whole events. When the
//! server drains, the last chunk is sent.

use std::io::{self, IoSlice, Write as _};

use tokio::net::TcpStream;

use super::frame;
use super::request::WaitPermit;
use crate::services::Drain;
use crate::services::streams::Subscription;

/// The last chunk, without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The most bytes of the line with a chunk's size.
const SIZE_LINE: usize = 18;

/// A subscription and the format in which it is written.
pub(super) struct StreamWriter {
    subscription: Subscription,
    drain: Drain,
    _permit: WaitPermit,
    /// Whether the body is chunked. If not (HTTP/1.0), it ends with the connection.
    chunked: bool,
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter").field("chunked", &self.chunked).finish_non_exhaustive()
    }
}

impl StreamWriter {
    pub(super) fn new(
        subscription: Subscription,
        drain: Drain,
        permit: WaitPermit,
        chunked: bool,
    ) -> Self {
        Self { subscription, drain, _permit: permit, chunked }
    }

    /// Writes events until the client disconnects or the server drains. `is_silent`: the client has sent
    /// nothing after its request.
    pub(super) async fn run(self: Box<Self>, socket: TcpStream, is_silent: bool) {
        let Self { mut subscription, drain, _permit, chunked } = *self;
        let mut end = std::pin::pin!(drain.end_of_wait());
        let mut disconnected = std::pin::pin!(disconnected(&socket, is_silent));
        loop {
            let bytes = tokio::select! {
                biased;
                () = &mut end => break,
                () = &mut disconnected => return,
                item = subscription.next() => frame::encode(item),
            };
            let sent = tokio::select! {
                biased;
                sent = send(&socket, &bytes, chunked) => sent,
                () = &mut disconnected => return,
            };
            if let Err(error) = sent {
                tracing::trace!(%error, "a stream ended with an error");
                return;
            }
        }
        if chunked {
            let _ = send_all(&socket, &mut [IoSlice::new(LAST_CHUNK)]).await;
        }
    }
}

/// Sends bytes as one chunk.
async fn send(socket: &TcpStream, bytes: &[u8], chunked: bool) -> io::Result<()> {
    // Yields now and then: a client that reads as fast as events come must not starve other tasks.
    tokio::task::coop::consume_budget().await;
    if !chunked {
        return send_all(socket, &mut [IoSlice::new(bytes)]).await;
    }
    let mut line = [0; SIZE_LINE];
    let mut rest = &mut line[..];
    write!(rest, "{:x}\r\n", bytes.len())?;
    let unused = rest.len();
    let line = &line[..SIZE_LINE - unused];
    send_all(socket, &mut [IoSlice::new(line), IoSlice::new(bytes), IoSlice::new(b"\r\n")]).await
}

async fn send_all(socket: &TcpStream, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !parts.is_empty() {
        match socket.try_write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => IoSlice::advance_slices(&mut parts, sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns when the client has disconnected. If the client sends anything after its request, this never
/// returns: nothing more is read, so the kernel's buffer limits what the client can send, and a failed write
/// shows the disconnect.
async fn disconnected(socket: &TcpStream, is_silent: bool) {
    if !(is_silent && closes(socket).await) {
        std::future::pending().await
    }
}

/// Waits for input; returns whether the input has ended.
async fn closes(socket: &TcpStream) -> bool {
    loop {
        if socket.readable().await.is_err() {
            return true;
        }
        match socket.try_read(&mut [0; 1]) {
            Ok(sent) => return sent == 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return true,
        }
    }
}
