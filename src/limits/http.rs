//! Limits of the HTTP server: connections, heads, bodies, responses.

use std::time::Duration;

/// Default of `MAX_CONNECTIONS`. The usual limit of open files allows this many, and 10,000 idle streams need
/// them.
pub const DEFAULT_MAX_CONNECTIONS: usize = 12_000;
/// Open files that a server needs besides its clients' connections: connections to the store (22) and to
/// NATS, webhook deliveries ([`super::MAX_WEBHOOKS`] times [`super::WEBHOOK_CONCURRENCY`]), running commands,
/// logs.
pub const SERVER_FILES: usize = 1_024;
/// Connections that the kernel queues until they are accepted, if its own limit allows it
/// (`net.core.somaxconn`, 4,096 by default since Linux 5.4). When the queue is full the kernel drops
/// connections, and a client tries again after a second or is reset. tokio's 1,024 were too few for 2,000
/// streams that reconnect at once.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Time limit for a client to send a request's head, and for a connection to stay idle between requests.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for a client to send a whole request body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server reads and discards the rest of a body after a 413, so that the client receives the
/// response instead of a reset (contract, section 3).
pub const DISCARD_TIME: Duration = Duration::from_secs(1);
/// The most bytes of a request's head that hyper buffers.
pub const HEAD_BYTES: usize = 64 * 1024;
const _: () = assert!(2 * agentbus_message::limits::MAX_FILTER_BYTES == HEAD_BYTES);
/// Size of the kernel buffer for a connection's unread output. It bounds what 10,000 slow readers cost.
pub const SEND_BUFFER: usize = 64 * 1024;
/// How long the client of a stream whose credential has ended may take for each of: the chunk in progress, the
/// `denied` event, the last chunk. Together less than the 2 s within which a revoked stream must be closed.
pub const STREAM_END_TIME: Duration = Duration::from_millis(500);
/// The kernel drops a connection whose output makes no progress for this long: a half-open one, or one whose
/// client reads nothing (the client resumes by its cursor). It is long enough for a reader stopped in a
/// debugger or a laptop that sleeps a little.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a connection may have no traffic before the kernel probes its peer.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// The most characters of an `Idempotency-Key` (contract, section 3).
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
/// `Retry-After` of a 503, in seconds.
pub const RETRY_AFTER_S: u64 = 1;
/// The most requests in progress at once. Further ones get a 503.
pub const MAX_REQUESTS: usize = 2_048;
/// The most bytes of request bodies in memory at once, over all requests.
pub const MAX_BODY_BYTES_HELD: usize = 256 * 1024 * 1024;
/// Bytes that are reserved for a body before any of it has arrived: enough for most whole bodies.
pub const BODY_FIRST_BYTES: usize = 4 * 1024;
/// The most bytes of responses that clients have not read yet (contract, section 3): fourteen of the largest
/// pages, however many connections there are.
pub const MAX_RESPONSE_BYTES_HELD: usize = 128 * 1024 * 1024;
/// Responses up to this size are sent even when the pool of unread response bytes is full: a refusal (a
/// problem document) could be as large.
pub const SMALL_RESPONSE_BYTES: usize = 4 * 1024;
/// Bytes that a message or a job of a batch takes in memory besides its body, parsed and encoded.
pub const BATCH_ITEM_BYTES: usize = 768;
/// Items of a batch that are parsed or encoded before other tasks get their turn: a thousand small items
/// together take milliseconds of a core.
pub const ITEMS_BETWEEN_YIELDS: usize = 32;
/// The most faults that the response to one batch names. Beyond them, each item shows only its first fault.
pub const MAX_BATCH_ERRORS: usize = 1_024;
/// The most bytes of an `X-Request-Id` that the server keeps. A UUID, a W3C trace id and what gateways make
/// of them fit with room to spare.
pub const MAX_REQUEST_ID: usize = 128;
/// The most characters of a path that an error shows.
pub const MAX_SHOWN_PATH: usize = 256;
/// The most requests that wait for a reply at once. Each holds its message until then.
pub const MAX_REPLY_WAITS: usize = 8_192;
/// How long a client may leave its response unread (contract, section 3, Shares).
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for the handshake of a TLS connection: a few round trips on a bad network.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the files of the certificate are looked at. They are small, and a renewal need not be announced.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(1);
/// The most bytes that are read of a PEM file: a long chain has ten thousand.
pub const MAX_PEM_BYTES: u64 = 1024 * 1024;
/// The most requests and streams of one HTTP/2 connection at once: the least that RFC 9113 recommends, and more streams
/// than a page shows.
pub const HTTP2_STREAMS: u32 = 100;
/// The most bytes of request bodies that one HTTP/2 connection may send before they are read. Bodies are read as they
/// arrive, so this bounds what a hostile client leaves in memory.
pub const HTTP2_WINDOW: u32 = 256 * 1024;
/// The most bytes of one HTTP/2 stream that wait for the socket. A hundred streams of a connection whose client reads
/// nothing hold 6 MiB for [`UNREAD_TIMEOUT`].
pub const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// Requests that an HTTP/2 client may cancel before the server has looked at them. More, and the connection is closed
/// (CVE-2023-44487, rapid reset).
pub const HTTP2_PENDING_RESETS: usize = 20;
/// Streams that the server may have to reset because a client breaks the rules of HTTP/2, before the connection is closed.
pub const HTTP2_FAULTY_STREAMS: usize = 100;
/// The size of the pieces in which a response is passed to HTTP/2: what a client has to take within [`UNREAD_TIMEOUT`].
pub const HTTP2_PIECE: usize = 16 * 1024;
/// How long a stream over TLS goes on after its credential has ended. Then it is cut: it may have taken
/// [`STREAM_END_TIME`] for the chunk in progress, the `denied` event and the end.
pub const STREAM_CUT_TIME: Duration = Duration::from_millis(1_500);
