//! The limits of the client commands, each with its reason. The limits of requests and pages are in
//! [`agentbus_client::limits`], those of the server in `crate::limits`.

use std::time::Duration;

/// How long an import retries: long enough for a failover of the bus or the database.
pub const IMPORT_RETRY_FOR: Duration = Duration::from_secs(300);
/// How long the simulated squad tries to go offline: its server may be stopping too.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// The most bytes of a line to import: a message has at most 1 MiB, but escapes and white space may make its
/// line longer.
pub const LINE_BYTES: usize = 7 * 1024 * 1024;
/// The most bytes of content read from standard input: a larger message is refused anyway.
pub const INPUT_BYTES: u64 = 2 * 1024 * 1024;

/// How many lines of a message's content are shown.
pub const SHOWN_LINES: usize = 3;
/// How many characters of a line or a cell are shown.
pub const SHOWN_CHARS: usize = 240;
