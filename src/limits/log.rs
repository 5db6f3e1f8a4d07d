//! Limits of the projector and of what keeps bus and store the same log.

use std::time::Duration;

/// The most rows of one projector write. More gain nothing (measured).
pub const PROJECT_ROWS: usize = 2_000;
/// Shortest time between the starts of two projector writes, unless a write is full or somebody waits for it.
/// At 10,000 messages a second the projector thus runs one statement of two hundred rows instead of forty of
/// five rows.
pub const PROJECT_PACE: Duration = Duration::from_millis(20);
/// The most bytes of one projector write. As many again are read ahead meanwhile.
pub const PROJECT_BYTES: usize = 8 * 1024 * 1024;
/// How long a projector's lease lasts without renewal. Together with [`STANDBY_POLL`] it keeps a take-over
/// below 5 s.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often the active projector renews its lease when it has nothing to write.
pub const LEASE_RENEW: Duration = Duration::from_secs(1);
/// How often a standby projector tries to claim the lease and reads the watermark.
pub const STANDBY_POLL: Duration = Duration::from_millis(500);
/// Replaces [`STANDBY_POLL`] while somebody waits for `ack=committed`.
pub const STANDBY_POLL_WAITED: Duration = Duration::from_millis(20);
/// Share of the stream's limits that messages not yet in the store may use before publishing stops. So the
/// stream never drops a message that the store lacks (contract, section 3).
pub const STORE_BEHIND_SHARE: f64 = 0.8;
/// How long a drain of the stream waits for the next entry before it counts the remaining entries as deleted.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// How far sequences jump when a stream's tail is abandoned. The jump exceeds anything the stream can take
/// meanwhile (an hour at a million messages a second), and 2^53 has room for two million jumps.
pub const ABANDON_JUMP: u64 = 1 << 32;
/// How far sequences jump more for each millisecond since the backup, when a store is restored whose stream is lost. No
/// log assigns sequences that fast, so a repeated restore of one backup jumps past what was assigned since the one before;
/// [`ABANDON_JUMP`] is for clocks that differ by up to an hour. 2^53 has room for two centuries.
pub const RESTORE_JUMP_PER_MS: u64 = 1 << 10;
/// The widest hole that a write-back of a stream's tail fills with entries, which are then deleted: some 5,000 a
/// second. For a wider hole, all entries of the stream are dropped instead.
pub const WRITE_BACK_FILLERS: u64 = 10_000;
/// Rows that a write-back reads at once: a few round trips' worth, well within a lease.
pub const WRITE_BACK_ROWS: usize = 1_000;
