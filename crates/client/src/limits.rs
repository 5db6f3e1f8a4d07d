//! The limits of the client, with their reasons.

use std::time::Duration;

/// Time limit for connecting. A server that does not accept a connection within it counts as unreachable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for one response, beyond the wait that a request asks for. It is longer than the 6 s after which the
/// server reports an outage of its bus, and than the 5 s of `ack=committed` (contract, section 3), and leaves time for
/// a second attempt within [`RETRY_FOR`].
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit for the response to a batch: the server waits 30 s for its body.
pub const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stream may be silent before its connection counts as lost: three heartbeats (the server sends
/// one after 15 s of silence).
pub const STREAM_SILENCE: Duration = Duration::from_secs(45);
/// The longest first wait before reconnecting a stream, until the server has sent its own time (`retry`).
pub const RECONNECT: Duration = Duration::from_secs(2);
/// The longest first wait between attempts of a request. The bound of each further wait is twice as high.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between attempts of what is retried for a limited time, unless `Retry-After` asks for more.
pub const LONGEST_REQUEST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait between attempts of what is retried for ever. If `Retry-After` asks for more, it is
/// tried earlier.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a request is retried by default: long enough for a restart of the server.
pub const RETRY_FOR: Duration = Duration::from_secs(30);

/// The most messages in one batch (contract, section 3).
pub const BATCH_MESSAGES: usize = 1_000;
/// The most bytes in one batch (contract, section 3).
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The most items in one page (contract, section 3).
pub const PAGE_ITEMS: usize = 1_000;
/// The number of items in the first page, when the size of items is not known yet.
pub const FIRST_PAGE_ITEMS: usize = 100;
/// The most bytes in a page that keeps the number of items. After a larger page, the next one has half as
/// many items, so that memory stays bounded.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes in one event. The content of a message that another NATS client published may be 1 MiB of
/// control characters. In JSON each is `\u0001`, so the content takes 6 MiB. The rest is for the other
/// members, and for those of newer servers.
pub const EVENT_BYTES: usize = 8 * 1024 * 1024;
/// How many characters to keep of a response that is not a problem document, such as a proxy's page.
pub const FOREIGN_TEXT_CHARS: usize = 240;

/// The longest wait of one lease request. A longer wait consists of several requests, so that a worker that stops has
/// not long to wait for the end of the last one.
pub const LEASE_WAIT: Duration = Duration::from_secs(5);
/// The longest wait of one inbox request; the server allows 60 s, proxies often less.
pub const INBOX_WAIT: Duration = Duration::from_secs(30);
/// How many messages an inbox request asks for.
pub const INBOX_MESSAGES: usize = 100;
/// The longest wait of one request for a reply (contract, section 9). A longer wait consists of several requests.
pub const REPLY_WAIT: Duration = Duration::from_secs(60);
/// How long the handlers of a worker may run on after it was asked to stop; then their jobs go back to the queue.
pub const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The most bytes of an error text that a worker tells the server (contract, section 10).
pub const REASON_BYTES: usize = 2_048;
/// How long leases of a queue last if its settings cannot be read: the server's default (contract, section 8).
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// For how long a worker relies on what it knows of its queue's settings.
pub const LEASE_TIME_AGE: Duration = Duration::from_secs(5);
/// The shortest time between two extensions of a lease.
pub const SHORTEST_EXTENSION: Duration = Duration::from_millis(100);
