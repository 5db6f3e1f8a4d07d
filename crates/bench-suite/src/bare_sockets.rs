//! Bytes to many sockets and nothing else: what a stream costs without a log, a filter or a replay.
//!
//! A message that is posted becomes one event, whose bytes every subscriber's task writes as they are, those
//! that wait by one write. A subscriber that falls behind what a channel holds loses events, which the generator counts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

use super::error::SuiteError;
use agentbus::broadcast::frame::message;
use agentbus::http::frame;
use agentbus::limits::DEFAULT_RING_SIZE;
use agentbus_bench::address::Address;
use agentbus_message::{Kind, format_micros};

/// Bytes read of a request at once; those of the generator are shorter.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of events that wait which are written at once, and one event more.
const JOINED_BYTES: usize = 64 * 1024;

/// A server with threads of its own. Dropped, it ends.
pub(super) struct BareSockets {
    address: Address,
    runtime: Option<Runtime>,
}

struct Shared {
    events: broadcast::Sender<Bytes>,
    seq: AtomicU64,
}

impl BareSockets {
    /// Starts it.
    pub(super) async fn start() -> Result<Self, SuiteError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut server = Self { address: Address::local(0), runtime: None };
        let listening = runtime.spawn(TcpListener::bind("127.0.0.1:0"));
        server.runtime = Some(runtime);
        let ended = |error| SuiteError::Failed(format!("the bare sockets ended: {error}"));
        let listener = listening.await.map_err(ended)??;
        server.address = Address::local(listener.local_addr()?.port());
        let events = broadcast::Sender::new(DEFAULT_RING_SIZE);
        let shared = Arc::new(Shared { events, seq: AtomicU64::new(0) });
        if let Some(runtime) = &server.runtime {
            // Ends with the runtime, and with it every connection.
            runtime.spawn(accept(listener, shared));
        }
        Ok(server)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for BareSockets {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
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
        let answer = match memmem::find(&request, b"\r\n\r\n") {
            Some(end) if request.starts_with(b"POST ") => post(&shared, &request[end + 4..]),
            _ => stats(&shared),
        };
        socket.write_all(answer.as_bytes()).await?;
    }
}

/// Head and body of the next request; `None` at the end.
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
    // An error says that nobody listens.
    let _ = shared.events.send(chunk(&message(seq, Kind::Message, &whole)));
    answer(201, &format!("{{\"seq\":{seq}}}"))
}

fn stats(shared: &Shared) -> String {
    let seq = shared.seq.load(Ordering::Relaxed);
    answer(200, &format!("{{\"projector\":{{\"committed_through\":{seq},\"lag\":0}}}}"))
}

fn answer(status: u16, body: &str) -> String {
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
        while out.len() < JOINED_BYTES
            && let Ok(event) = events.try_recv()
        {
            out.extend_from_slice(&event);
        }
        socket.write_all(&out).await?;
        out.clear();
    }
}
