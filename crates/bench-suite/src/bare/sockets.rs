//! Events to many sockets, without log, filter or replay.
//!
//! A posted message becomes one event. Each subscriber's task writes the bytes of the events, waiting ones together. A
//! subscriber that falls behind the channel's capacity loses events, which the generator counts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::host::BareHost;
use crate::error::SuiteError;
use agentbus::broadcast::frame::message;
use agentbus::http::frame;
use agentbus::limits::DEFAULT_RING_SIZE;
use agentbus_message::{Kind, format_micros};

/// Initial size of the read buffer: requests of the generator are smaller.
const READ_BYTES: usize = 16 * 1024;
/// Waiting events are joined into one write up to this size, exceeded by at most one event.
const MAX_WRITE_BYTES: usize = 64 * 1024;

struct Shared {
    events: broadcast::Sender<Bytes>,
    seq: AtomicU64,
}

/// Starts the server.
pub(crate) async fn start() -> Result<BareHost, SuiteError> {
    let serve = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let events = broadcast::Sender::new(DEFAULT_RING_SIZE);
        tokio::spawn(accept(listener, Arc::new(Shared { events, seq: AtomicU64::new(0) })));
        Ok(port)
    };
    BareHost::start(serve).await
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        tokio::spawn(serve(socket, Arc::clone(&shared)));
    }
}

/// Serves one connection until it breaks.
async fn serve(mut socket: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut read = Vec::with_capacity(READ_BYTES);
    loop {
        let Some(request) = request(&mut socket, &mut read).await? else { return Ok(()) };
        if request.starts_with(b"GET ") && memmem::find(&request, b"/v1/stream").is_some() {
            return stream(socket, &shared).await;
        }
        let response = match memmem::find(&request, b"\r\n\r\n") {
            Some(end) if request.starts_with(b"POST ") => post(&shared, &request[end + 4..]),
            _ => stats(&shared),
        };
        socket.write_all(response.as_bytes()).await?;
    }
}

/// Head and body of the next request; `None` when the client has closed the connection.
async fn request(socket: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = memmem::find(read, b"\r\n\r\n") {
            let name = b"Content-Length: ";
            let length = memmem::find(&read[..end], name)
                .map_or(0, |at| agentbus_bench::meter::number(&read[at + name.len()..]));
            let whole = end + 4 + usize::try_from(length).unwrap_or_default();
            if read.len() >= whole {
                let rest = read.split_off(whole);
                return Ok(Some(std::mem::replace(read, rest)));
            }
        }
        if socket.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bare part, measured without the server")]
fn post(shared: &Shared, body: &[u8]) -> String {
    let seq = shared.seq.fetch_add(1, Ordering::Relaxed) + 1;
    let mut whole = body.strip_suffix(b"}").unwrap_or(body).to_vec();
    whole.extend_from_slice(b",\"created_at\":\"");
    whole.extend_from_slice(format_micros(chrono::Utc::now()).as_bytes());
    whole.extend_from_slice(b"\"}");
    // An error means that there are no subscribers.
    let _ = shared.events.send(chunk(&message(seq, Kind::Message, &whole)));
    response(201, &format!("{{\"seq\":{seq}}}"))
}

fn stats(shared: &Shared) -> String {
    let seq = shared.seq.load(Ordering::Relaxed);
    response(200, &format!("{{\"projector\":{{\"committed_through\":{seq},\"lag\":0}}}}"))
}

fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// One chunk of a body (RFC 9112, section 7.1).
fn chunk(bytes: &[u8]) -> Bytes {
    let mut out = format!("{:X}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out.into()
}

async fn stream(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut events = shared.events.subscribe();
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(&chunk(&frame::ready(2_000, 0, 0, 1, false))).await?;
    let mut out = Vec::new();
    loop {
        match events.recv().await {
            Ok(event) => out.extend_from_slice(&event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
        while out.len() < MAX_WRITE_BYTES
            && let Ok(event) = events.try_recv()
        {
            out.extend_from_slice(&event);
        }
        socket.write_all(&out).await?;
        out.clear();
    }
}
