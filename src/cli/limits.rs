//! Every cap of the client commands, with its reason.
//!
//! Invariant: no wait, buffer or batch of a client command is bounded by a
//! number that is not named here. The server's own caps live in `crate::limits`.

use std::time::Duration;

/// A server that does not accept a connection in this time is not there.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One answer: above the 6 s in which the server tells an outage and the 5 s of `ack=committed`.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Three missed heartbeats (the stream has one every 15 s): the connection is dead.
pub const STREAM_SILENCE: Duration = Duration::from_secs(45);
/// First wait between attempts; doubled each time.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between attempts, whatever `Retry-After` asks for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a short command goes on trying: a restart of the server, not an outage.
pub const RETRY_FOR: Duration = Duration::from_secs(10);
/// How long an import goes on trying: a failover of the bus or the database.
pub const IMPORT_RETRY_FOR: Duration = Duration::from_secs(300);
/// How long making a webhook goes on trying: one attempt, since a second after a lost
/// answer would make a second webhook.
pub const WEBHOOK_RETRY_FOR: Duration = Duration::ZERO;
/// Farewell of the simulated squad, when its server may be going too.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Messages of a batch (contract, section 3).
pub const BATCH_MESSAGES: usize = crate::limits::MAX_BATCH_MESSAGES;
/// Bytes of a batch (contract, section 3).
pub const BATCH_BYTES: usize = crate::limits::MAX_REQUEST_BYTES;
/// Bytes of a line to import: a message holds 1 MiB, escaping and white space may swell it.
pub const LINE_BYTES: usize = 7 * 1024 * 1024;
/// Bytes of content read from standard input: no larger message is accepted anyway.
pub const INPUT_BYTES: u64 = 2 * 1024 * 1024;

/// Messages of a page (contract, section 3).
pub const PAGE_MESSAGES: usize = crate::limits::MAX_PAGE;
/// Messages of the first page, before the size of messages is known.
pub const FIRST_PAGE_MESSAGES: usize = 100;
/// A page above this makes the next one smaller, so that memory stays bounded.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one event: a message of 1 MiB and its frame, with room for a newer server's.
pub const EVENT_BYTES: usize = 4 * 1024 * 1024;

/// Lines of content shown of one message.
pub const SHOWN_LINES: usize = 3;
/// Characters shown of one line.
pub const SHOWN_CHARS: usize = 240;
