//! Every limit of the client commands, with its reason. Those of requests and pages are in
//! [`agentbus_client::limits`], the server's in `crate::limits`.

use std::time::Duration;

/// How long an import retries: a failover of the bus or the database.
pub const IMPORT_RETRY_FOR: Duration = Duration::from_secs(300);
/// How long making a webhook is retried: not at all, since a second request after a lost response would make
/// a second webhook.
pub const WEBHOOK_RETRY_FOR: Duration = Duration::ZERO;
/// How long the simulated squad tries to go offline, when its server may be stopping too.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes of a line to import: a message holds 1 MiB, escapes and white space may make it longer.
pub const LINE_BYTES: usize = 7 * 1024 * 1024;
/// Bytes of content read from standard input: a larger message is refused anyway.
pub const INPUT_BYTES: u64 = 2 * 1024 * 1024;

/// Lines shown of a message's content.
pub const SHOWN_LINES: usize = 3;
/// Characters shown of a line or a cell.
pub const SHOWN_CHARS: usize = 240;
