//! Limits of the memory bus.

use std::time::Duration;

use super::http::MAX_BODY_BYTES_HELD;

/// The most publishes that wait for the memory bus's writer: some 4 s of work at 1,000 commits a second.
/// Further ones get a 503.
pub const MEMORY_QUEUE: usize = 4_096;
/// The most bytes of the publishes that wait and of the group that is being committed: as many as request
/// bodies may have. Request bodies are shared fairly among clients, so only callers inside the process meet
/// this limit.
pub const MEMORY_QUEUE_BYTES: usize = MAX_BODY_BYTES_HELD;
/// The most messages of one group commit: enough that the fsync costs next to nothing for each message, few
/// enough that a commit takes milliseconds.
pub const GROUP_COMMIT_MESSAGES: usize = 1_000;
/// The most bytes of one group commit: eight of the largest messages.
pub const GROUP_COMMIT_BYTES: usize = 8 * 1024 * 1024;
/// Entries that the memory bus keeps for readers close to the end of the log. Other readers read the store.
pub const MEMORY_TAIL_ENTRIES: usize = 4_096;
/// The most bytes of the [`MEMORY_TAIL_ENTRIES`]: thirty of the largest entries.
pub const MEMORY_TAIL_BYTES: usize = 32 * 1024 * 1024;
/// The most entries that a reader of the memory bus takes at once, so that one step stays short.
pub const READ_ENTRIES: usize = 500;
/// How long the memory bus retries a group commit. It is shorter than [`super::PUBLISH_DEADLINE`], so that a
/// publisher still learns the outcome of each message.
pub const COMMIT_DEADLINE: Duration = Duration::from_millis(5_250);
/// Pause between attempts to learn the outcome of a commit.
pub const COMMIT_RETRY: Duration = Duration::from_millis(100);
/// How often a memory bus that could not write tries to write again.
pub const JOURNAL_PROBE: Duration = Duration::from_millis(500);
