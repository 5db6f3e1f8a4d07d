//! The limits of the client, with their reasons.

use std::time::Duration;

/// Time limit for connecting. A server that does not accept a connection within it counts as unreachable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for one response. It is longer than the 6 s after which the server reports an outage of its
/// bus, and than the 5 s of `ack=committed` (contract, section 3).
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stream may be silent before its connection counts as lost: three heartbeats (the server sends
/// one after 15 s of silence).
pub const STREAM_SILENCE: Duration = Duration::from_secs(45);
/// How long to wait before reconnecting, until the server has sent its own time (`retry`).
pub const RECONNECT: Duration = Duration::from_secs(2);
/// The first wait between attempts. Each further wait is twice as long.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between attempts, even if `Retry-After` asks for more.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a request is retried by default: long enough for a restart of the server.
pub const RETRY_FOR: Duration = Duration::from_secs(10);

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

/// The longest wait of one lease request, well below [`RESPONSE_TIMEOUT`]. A longer wait consists of several
/// requests.
pub const LEASE_WAIT: Duration = Duration::from_secs(5);
