//! Every limit of the client, with its reason.

use std::time::Duration;

/// A server that does not accept a connection within this time counts as unreachable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for one response: above the 6 s after which the server reports an outage of its bus, and the
/// 5 s of `ack=committed` (contract, section 3).
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Three missed heartbeats (the server sends one after 15 s of silence): the connection is dead.
pub const STREAM_SILENCE: Duration = Duration::from_secs(45);
/// Reconnection time until the server has sent its own (`retry`).
pub const RECONNECT: Duration = Duration::from_secs(2);
/// First wait between attempts; doubled each time.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between attempts, also where `Retry-After` asks for more.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a request is retried by default: long enough for a restart of the server.
pub const RETRY_FOR: Duration = Duration::from_secs(10);

/// Messages of one batch (contract, section 3).
pub const BATCH_MESSAGES: usize = 1_000;
/// Bytes of one batch (contract, section 3).
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Items of one page (contract, section 3).
pub const PAGE_ITEMS: usize = 1_000;
/// Items of the first page, before the size of items is known.
pub const FIRST_PAGE_ITEMS: usize = 100;
/// After a page larger than this, in bytes, the next page has half as many items, so that memory stays bounded.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one event. The content of a foreign message may be 1 MiB of control characters, each of them `\u0001` in
/// JSON: 6 MiB; the rest is its frame, with room for a newer server's.
pub const EVENT_BYTES: usize = 8 * 1024 * 1024;
/// Characters kept of a response that is no problem document, such as a proxy's page.
pub const FOREIGN_TEXT_CHARS: usize = 240;

/// Longest wait of one lease request; a longer wait is made of several, each well within [`RESPONSE_TIMEOUT`].
pub const LEASE_WAIT: Duration = Duration::from_secs(5);
