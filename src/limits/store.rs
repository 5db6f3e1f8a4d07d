//! Limits of the store: connections, statements, time-outs, readers in each other's way.

use std::time::Duration;

/// Expired messages that a reader of an inbox skips in one turn: a few milliseconds of the store's work, so that
/// nobody waits longer for a turn.
pub const INBOX_SKIP_MESSAGES: usize = 500;
/// How many readers skip at once: half of SQLite's readers stay free for those with nothing to skip.
pub const MAX_INBOX_SKIPS: usize = 2;
/// Size of SQLite's write-ahead log from which writes wait for readers so that it can be emptied: four times its
/// size without a reader in the way, and small beside any history worth keeping.
pub const SQLITE_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// How long such a wait holds up writes at first: most reads take less.
pub const SQLITE_LOG_WAIT: Duration = Duration::from_millis(250);
/// How long it may hold them up: well within [`super::PUBLISH_DEADLINE`].
pub const SQLITE_LOG_LONGEST_WAIT: Duration = Duration::from_secs(2);
/// First pause after readers were in the way all that time; it doubles up to [`SQLITE_LOG_LONGEST_RETRY`].
pub const SQLITE_LOG_RETRY: Duration = Duration::from_secs(1);
/// Longest such pause: beside a foreign reader that never ends, writes wait for a fifteenth of the time at most.
pub const SQLITE_LOG_LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Sequences of one partition of `messages` in PostgreSQL: few enough that an index fits in memory and retention
/// drops history in fair pieces, many enough that a hundred million messages are a hundred partitions, which plan
/// in a few milliseconds.
pub const PARTITION_SEQS: u64 = 1_000_000;
/// Sequences of one narrow row of the time index: at most as many rows are read in vain at either end of a
/// `since`/`until` range.
pub const TIME_INDEX_SEQS: u64 = 1_000;
/// Sequences of one wide row of the time index, a thousand narrow ones: in a log of a thousand million messages a
/// bound is found in two thousand rows.
pub const TIME_INDEX_WIDE_SEQS: u64 = 1_000_000;
/// Index ranges that one page is merged from, where there is a choice: each costs planning time, even an empty
/// one.
pub const MAX_PLAN_BRANCHES: usize = 128;
/// Bytes of bodies of one page of history: eight of the largest messages, instead of the thousand that `limit`
/// allows.
pub const MAX_PAGE_BYTES: u64 = 8 * 1024 * 1024;
/// Connections that read history. More would only queue inside PostgreSQL on the machines agentbus is meant for.
pub const STORE_READERS: u32 = 8;
/// Connections of a SQLite store that read: as many as a laptop has cores to spare.
pub const SQLITE_READERS: u32 = 4;
/// Connections for lease, watermark and membership, which slow reads must not starve.
pub const STORE_CONTROLS: u32 = 2;
/// Connections that move cursors of inboxes: agents confirm at any rate, and must not hold up the lease.
pub const STORE_CURSORS: u32 = 2;
/// Connections for work queues: their transactions take milliseconds, so four carry thousands of leases a second.
pub const STORE_JOBS: u32 = 4;
/// How long a reader waits for a connection: a store that is away is reported in 3 s, within the 6 s that the
/// contract allows a 503.
pub const STORE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the database may work on a read: every plan is bounded, so more is a fault.
pub const STORE_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the database may work on a write: a batch takes milliseconds, a checkpoint on a slow disk seconds.
pub const STORE_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Added to a statement's own time-out before its connection is closed: the database ends the statement itself,
/// unless the network is down.
pub const STORE_GRACE: Duration = Duration::from_secs(1);
/// How long a starting server waits for the hold of a killed one to end: the kernel closes its connection at
/// once, and PostgreSQL notices in milliseconds.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it tries meanwhile.
pub const JOIN_RETRY: Duration = Duration::from_millis(100);
/// How often a server verifies its session with the database. A server that lost it notices within twice this
/// time.
pub const MEMBERSHIP_PING: Duration = Duration::from_secs(2);
/// Rows of one SQLite insert: more are no faster (measured), and SQLite allows 32,766 parameters.
pub const SQLITE_INSERT_ROWS: usize = 64;
/// Rows of an insert where each number of rows is a statement to prepare. The largest that fits is used, so few
/// are prepared and a rest takes three at most.
pub const SQLITE_INSERT_SIZES: [usize; 12] =
    [SQLITE_INSERT_ROWS, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
/// Prepared statements of a store connection: one for each shape of filter in use.
pub const STORE_STATEMENTS: usize = 256;
/// Page cache of each SQLite connection, in KiB: the upper levels of thirteen indices of a million rows, so that
/// a write reads no index page twice.
pub const SQLITE_CACHE_KIB: u32 = 16 * 1024;
/// Ids that one SQLite statement looks up: far below its 32,766 parameters.
pub const SQLITE_STATEMENT_IDS: usize = 1_000;
/// Pages of SQLite's write-ahead log after which a write moves them into the database: 16 MiB. Pages that every
/// batch writes are then moved once for many (a sixth faster than 1,000, measured).
pub const SQLITE_CHECKPOINT_PAGES: u32 = 4_000;
/// When a page begins closer than this to the end of a partition, its first statement reads the next one too:
/// enough for a page of a hundred of one message in a thousand.
pub const NEAREST_SEQS: u64 = PARTITION_SEQS / 10;
/// Partitions that the second statement of a page reads, where the first has not filled it. PostgreSQL plans and
/// locks each with its 14 indices, and its lock table has room for 6,400 by default.
pub const NEXT_WINDOW_PARTITIONS: usize = 4;
/// Partitions that each further statement of a page reads, for rare values.
pub const WINDOW_PARTITIONS: usize = 16;
/// Connections for background processing: leases and outcomes are batches, and more at once would only wait for
/// each other's fsync.
pub const STORE_WORKERS: u32 = 4;
