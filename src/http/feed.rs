//! A stream on a connection of its own, written straight to the socket.
//!
//! Invariant: the connection is the only queue. While a client does not read, its
//! subscription is not asked, so it costs no memory and is skipped nothing. What is sent
//! are whole events, in chunks (RFC 9112, section 7.1) that end in good order.

use std::io::{self, IoSlice, Write as _};

use tokio::net::TcpStream;

use super::stream::end_of_stream;
use super::work::StandBy;
use super::{Shared, frame};
use crate::broadcast::Subscription;

/// The chunk after the last one, without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// A chunk's size in hexadecimal, and the end of its line.
const SIZE_LINE: usize = 18;

/// A subscription that waits for its connection.
pub(super) struct Feed {
    api: Shared,
    subscription: Subscription,
    _standing_by: StandBy,
    /// Whether the head told that chunks follow. Else the end of the connection is the end.
    chunked: bool,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("chunked", &self.chunked).finish_non_exhaustive()
    }
}

impl Feed {
    pub(super) fn new(
        api: Shared,
        subscription: Subscription,
        standing_by: StandBy,
        chunked: bool,
    ) -> Self {
        Self { api, subscription, _standing_by: standing_by, chunked }
    }

    /// Feeds the client until it leaves or the server drains. `silent`: it has sent nothing
    /// after its request.
    pub(super) async fn run(self: Box<Self>, socket: TcpStream, silent: bool) {
        let Self { api, mut subscription, _standing_by, chunked } = *self;
        let mut end = std::pin::pin!(end_of_stream(api));
        let mut left = std::pin::pin!(left(&socket, silent));
        loop {
            let bytes = tokio::select! {
                biased;
                () = &mut end => break,
                () = &mut left => return,
                item = subscription.next() => frame::encode(item),
            };
            let sent = tokio::select! {
                biased;
                sent = send(&socket, &bytes, chunked) => sent,
                () = &mut left => return,
            };
            if let Err(error) = sent {
                tracing::trace!(%error, "a stream broke off");
                return;
            }
        }
        if chunked {
            let _ = send_all(&socket, &mut [IoSlice::new(LAST_CHUNK)]).await;
        }
    }
}

/// Sends some bytes as a chunk.
async fn send(socket: &TcpStream, bytes: &[u8], chunked: bool) -> io::Result<()> {
    // One that reads as fast as it is fed lets others have their turn.
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

/// Returns when the client has gone. One that sends more than its request is not read on:
/// nothing is waited for from it, and what it sends is bounded by the kernel's buffer. That it
/// has gone shows when it is written to.
async fn left(socket: &TcpStream, silent: bool) {
    if !(silent && closes(socket).await) {
        std::future::pending().await
    }
}

/// Waits for the client's next word, and tells whether it is that it goes.
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
