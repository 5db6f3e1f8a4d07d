//! Caps of what keeps readers of the store out of each other's way.

use std::time::Duration;

/// Messages that a reader of an inbox passes over in one turn because they have expired: a few
/// milliseconds of the store's work, so that nobody waits longer for a turn.
pub const INBOX_SKIP_MESSAGES: usize = 500;
/// Of those, how many have a turn at once: half of SQLite's readers stay for whoever has nothing to
/// pass over.
pub const MAX_INBOX_SKIPS: usize = 2;
/// Bytes of SQLite's log from which readers are waited for so that it can be emptied: four times what
/// it has where no reader is in the way, and small beside any history that is worth keeping.
pub const SQLITE_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// How long such a wait holds up writes at first: most reads take less.
pub const SQLITE_LOG_WAIT: Duration = Duration::from_millis(250);
/// How long it may hold them up: well within [`super::PUBLISH_DEADLINE`].
pub const SQLITE_LOG_LONGEST_WAIT: Duration = Duration::from_secs(2);
/// First pause after readers were in the way all that time; it doubles up to [`SQLITE_LOG_LONGEST_RETRY`].
pub const SQLITE_LOG_RETRY: Duration = Duration::from_secs(1);
/// Longest pause of the kind: beside a reader that never ends, a program that is not ours, writes wait for a
/// fifteenth of the time at most.
pub const SQLITE_LOG_LONGEST_RETRY: Duration = Duration::from_secs(30);
