//! Writes a stream to the socket of its connection.
//!
//! Invariant: the connection is the only queue. While a client does not read, its subscription is not polled,
//! so it uses no memory and skips nothing. Chunks (RFC 9112, section 7.1) contain whole events. When the
//! server drains or the subscription ends, the last chunk is sent. After the end of the credential nothing more
//! is sent than the chunk in progress and the end; a client that takes these too slowly is disconnected.

use std::io::{self, IoSlice, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::frame;
use super::request::WaitPermit;
use crate::limits::STREAM_END_TIME;
use crate::services::Drain;
use crate::services::streams::{Item, Subscription};

/// The most bytes of the line with a chunk's size.
const SIZE_LINE: usize = 18;

/// A subscription and the format in which it is written. `P` is kept until the stream ends.
pub(super) struct StreamWriter<P = WaitPermit> {
    subscription: Subscription,
    drain: Drain,
    _permit: P,
    /// Whether the body is chunked. If not (HTTP/1.0), it ends with the connection.
    chunked: bool,
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter").field("chunked", &self.chunked).finish_non_exhaustive()
    }
}

impl<P> StreamWriter<P> {
    pub(super) fn new(subscription: Subscription, drain: Drain, permit: P, chunked: bool) -> Self {
        Self { subscription, drain, _permit: permit, chunked }
    }

    /// Writes events until the client disconnects, the server drains or the subscription ends. `is_silent`: the
    /// client has sent nothing after its request.
    pub(super) async fn run(self: Box<Self>, socket: TcpStream, is_silent: bool) {
        let Self { mut subscription, drain, _permit, chunked } = *self;
        let mut drained = std::pin::pin!(drain.end_of_wait());
        let mut disconnected = std::pin::pin!(disconnected(&socket, is_silent));
        loop {
            let item = tokio::select! {
                biased;
                () = &mut drained => None,
                () = &mut disconnected => return,
                item = subscription.next() => item,
            };
            let is_last = item.is_none();
            if is_last && !chunked {
                return;
            }
            // Whether the bytes must be sent to their end: what tells of the end, or a chunk of which a part is sent.
            let is_due = AtomicBool::new(matches!(item, None | Some(Item::Denied { .. })));
            // The last chunk is the empty one.
            let bytes = item.map_or_else(Bytes::new, frame::encode);
            let sent = tokio::select! {
                biased;
                sent = send(&socket, &bytes, chunked, &is_due) => sent,
                () = &mut disconnected => return,
                () = overdue(&mut subscription, &is_due) => {
                    if is_due.load(Ordering::Relaxed) {
                        return;
                    }
                    continue;
                }
            };
            if let Err(error) = sent {
                tracing::trace!(%error, "a stream ended with an error");
                return;
            }
            if is_last {
                return;
            }
        }
    }
}

/// Returns when the subscription has ended and, if what is being sent is due, the client had
/// [`STREAM_END_TIME`] to take it.
async fn overdue(subscription: &mut Subscription, is_due: &AtomicBool) {
    subscription.ended().await;
    if is_due.load(Ordering::Relaxed) {
        // Boxed, since every stream would carry the size of this future.
        Box::pin(tokio::time::sleep(STREAM_END_TIME)).await;
    }
}

/// Sends bytes as one chunk. Sets `begun` once a part of it is sent.
async fn send(
    socket: &TcpStream,
    bytes: &[u8],
    chunked: bool,
    begun: &AtomicBool,
) -> io::Result<()> {
    // Yields now and then: a client that reads as fast as events come must not starve other tasks.
    tokio::task::coop::consume_budget().await;
    let mut sent = 0;
    while let Some(result) = try_send(socket, bytes, chunked, sent) {
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => {
                begun.store(true, Ordering::Relaxed);
                sent += more;
            }
            // Boxed, since every stream would carry the size of this future.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Box::pin(socket.writable()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends what is left of a chunk after `sent` bytes of it; returns how many bytes the socket took. `None` if nothing
/// is left.
fn try_send(
    socket: &TcpStream,
    bytes: &[u8],
    chunked: bool,
    sent: usize,
) -> Option<io::Result<usize>> {
    let mut line = [0; SIZE_LINE];
    let mut line_end = &[][..];
    let mut unused = SIZE_LINE;
    if chunked {
        let mut rest = &mut line[..];
        // The line has room for any length.
        let _ = write!(rest, "{:x}\r\n", bytes.len());
        unused = rest.len();
        line_end = b"\r\n";
    }
    let line = &line[..SIZE_LINE - unused];
    let mut parts = [IoSlice::new(line), IoSlice::new(bytes), IoSlice::new(line_end)];
    let mut left = &mut parts[..];
    IoSlice::advance_slices(&mut left, sent);
    (!left.is_empty()).then(|| socket.try_write_vectored(left))
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

#[cfg(test)]
mod tests;
