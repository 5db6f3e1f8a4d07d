//! Limits of the HTTP server: connections, heads, bodies, responses.

use std::time::Duration;

/// Default of `MAX_CONNECTIONS`: what the usual limit of open files allows, and 10,000 idle streams need.
pub const DEFAULT_MAX_CONNECTIONS: usize = 12_000;
/// Open files that a server needs beside its clients' connections: those to the store (22) and NATS, webhook
/// deliveries ([`super::MAX_WEBHOOKS`] times [`super::WEBHOOK_CONCURRENCY`]), running commands, logs.
pub const SERVER_FILES: usize = 1_024;
/// Connections that the kernel queues until they are accepted, where its own limit allows it
/// (`net.core.somaxconn`, 4,096 by default since Linux 5.4). Beyond them it drops connections, and a client tries
/// again after a second or is reset. tokio's 1,024 were too few for 2,000 streams that reconnect at once.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// How long a client may take to send a request's head, and a connection may stay idle between requests.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request body may take in all.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a body is discarded after a 413, so that the client reads the response instead of a reset
/// (contract, section 3).
pub const DISCARD_TIME: Duration = Duration::from_secs(1);
/// Bytes of a request's head that hyper buffers at most.
pub const HEAD_BYTES: usize = 64 * 1024;
const _: () = assert!(2 * agentbus_message::limits::MAX_FILTER_BYTES == HEAD_BYTES);
/// Kernel buffer of a connection's unread output: bounds what 10,000 slow readers cost.
pub const SEND_BUFFER: usize = 64 * 1024;
/// After this long without progress the kernel drops a connection: a half-open one, or one whose client reads
/// nothing (it resumes by its cursor). Long enough for a reader stopped in a debugger or a laptop that sleeps a
/// little.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a connection without traffic may be before the kernel probes its peer.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Characters of an `Idempotency-Key` (contract, section 3).
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
/// `Retry-After` of a 503, in seconds.
pub const RETRY_AFTER_S: u64 = 1;
/// Requests in progress at once; beyond them a client gets a 503.
pub const MAX_REQUESTS: usize = 2_048;
/// Bytes of request bodies held at once over all requests.
pub const MAX_BODY_BYTES_HELD: usize = 256 * 1024 * 1024;
/// Bytes that a body may use before any of it has arrived: most bodies, whole.
pub const BODY_FIRST_BYTES: usize = 4 * 1024;
/// Bytes of responses at once that clients have not read yet (contract, section 3): fourteen of the largest
/// pages, however many connections there are.
pub const MAX_RESPONSE_BYTES_HELD: usize = 128 * 1024 * 1024;
/// Bytes of a response that is sent however many are unread: the most a problem document has.
pub const SMALL_RESPONSE_BYTES: usize = 4 * 1024;
/// Bytes that a message or a job of a batch takes beside its body, parsed and encoded.
pub const BATCH_ITEM_BYTES: usize = 768;
/// Items of a batch that are parsed or encoded before other tasks get their turn: a thousand small ones together
/// take milliseconds of a core.
pub const ITEMS_BETWEEN_YIELDS: usize = 32;
/// Faults named in the response to one batch. Beyond them an item shows only its first.
pub const MAX_BATCH_ERRORS: usize = 1_024;
/// Bytes of an `X-Request-Id` that is kept: a UUID, a W3C trace id and what gateways make of them, with room to spare.
pub const MAX_REQUEST_ID: usize = 128;
/// Characters of a path that an error shows.
pub const MAX_SHOWN_PATH: usize = 256;
/// Requests at once that wait for a reply: each holds its message until then.
pub const MAX_REPLY_WAITS: usize = 8_192;
/// How long a client may leave its response unread (contract, section 3, Shares).
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
