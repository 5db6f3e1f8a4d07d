//! Limits of the projector and of what keeps bus and store the same log.

use std::time::Duration;

/// Rows of one projector write. More gain nothing (measured).
pub const PROJECT_ROWS: usize = 2_000;
/// Shortest time between the starts of two projector writes, unless one is full or somebody waits for it. At
/// 10,000 messages a second it makes one statement of two hundred rows instead of forty of five.
pub const PROJECT_PACE: Duration = Duration::from_millis(20);
/// Bytes of one projector write; as many are read ahead meanwhile.
pub const PROJECT_BYTES: usize = 8 * 1024 * 1024;
/// How long a projector's lease lasts without renewal. With [`STANDBY_POLL`] it keeps a take-over below 5 s.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often the active projector renews its lease when it has nothing to write.
pub const LEASE_RENEW: Duration = Duration::from_secs(1);
/// How often a standby projector tries for the lease and reads the watermark.
pub const STANDBY_POLL: Duration = Duration::from_millis(500);
/// The same while somebody waits for `ack=committed`.
pub const STANDBY_POLL_WAITED: Duration = Duration::from_millis(20);
/// Share of the stream's limits that may be missing in the store before publishing stops, so that the stream
/// never drops what the store lacks (contract, section 3).
pub const STORE_BEHIND_SHARE: f64 = 0.8;
/// How long a drain of the stream waits for the next entry before it counts the rest as deleted.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// By how much sequences jump when a stream's tail is abandoned: beyond anything the stream can take meanwhile
/// (an hour at a million messages a second), and small enough for two million jumps within 2^53.
pub const ABANDON_JUMP: u64 = 1 << 32;
/// Sequences that are skipped one by one when a tail is written back: each is an entry stored and deleted again,
/// some 5,000 a second. Beyond that the stream drops what it has instead.
pub const WRITE_BACK_FILLERS: u64 = 10_000;
/// Rows read at once to be written back: a few round trips' worth, well within a lease.
pub const WRITE_BACK_ROWS: usize = 1_000;
