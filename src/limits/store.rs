//! Limits of the store: connections, statements, time-outs, readers that hold up others.

use std::time::Duration;

/// The most expired messages that a reader of an inbox skips in one turn: a few milliseconds of the store's
/// work, which is the longest that other readers wait for their turn.
pub const INBOX_SKIP_MESSAGES: usize = 500;
/// The most readers of inboxes that skip expired messages at once. Half of SQLite's readers stay free for
/// those with nothing to skip.
pub const MAX_INBOX_SKIPS: usize = 2;
/// Size of SQLite's write-ahead log (WAL) from which writes wait for readers, so that it can be emptied. It
/// is four times the size that the WAL has if no reader is in the way, and small beside any history worth
/// keeping.
pub const SQLITE_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// How long writes wait for readers so that the WAL can be emptied, for each `SQLITE_LOG_BYTES` of the WAL:
/// most reads take less.
pub const SQLITE_LOG_WAIT: Duration = Duration::from_millis(250);
/// The longest that writes wait for readers, however large the WAL: well within [`super::PUBLISH_DEADLINE`].
pub const SQLITE_LOG_LONGEST_WAIT: Duration = Duration::from_secs(2);
/// First pause after readers kept the WAL from being emptied; it doubles up to [`SQLITE_LOG_LONGEST_RETRY`].
pub const SQLITE_LOG_RETRY: Duration = Duration::from_secs(1);
/// Longest pause after readers kept the WAL from being emptied. Even if a foreign reader never ends, writes
/// wait for at most a fifteenth of the time.
pub const SQLITE_LOG_LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Sequences of one partition of `messages` in PostgreSQL: few enough that an index fits in memory and
/// retention drops history in small portions, many enough that a hundred million messages are only a hundred
/// partitions, which PostgreSQL plans in a few milliseconds.
pub const PARTITION_SEQS: u64 = 1_000_000;
/// Sequences that one narrow row of the time index covers. At most this many rows are read in vain at either
/// end of a `since`/`until` range.
pub const TIME_INDEX_SEQS: u64 = 1_000;
/// Sequences that one wide row of the time index covers, as many as a thousand narrow ones: in a log of a
/// thousand million messages a time bound is found in at most 1,000 wide and 1,000 narrow rows.
pub const TIME_INDEX_WIDE_SEQS: u64 = 1_000_000;
/// The most index ranges that one page is merged from, if another plan has fewer. Each costs planning time,
/// even if it is empty.
pub const MAX_PLAN_BRANCHES: usize = 128;
/// The most rows that a page of history tests against the scope of its reader, of those that pass its other filters
/// (contract, section 5): ten milliseconds of the database's work.
pub const PAGE_SCAN_ROWS: usize = 10_000;
/// The most messages of one kind by the names of a reader, and the most to them, in which a list of tasks looks for
/// tasks that they have a part in: the latest. As many first messages of one task are read for their recipients.
pub const TASK_PART_ROWS: usize = 10_000;
/// The most bytes of bodies of one page of history: eight of the largest messages, not the thousand that
/// `limit` allows.
pub const MAX_PAGE_BYTES: u64 = 8 * 1024 * 1024;
/// The pages of the store that one search of the content reads. Together they have [`PAGE_SCAN_ROWS`].
pub const SEARCH_PAGES: usize = 10;
/// The most messages of each page that a search reads.
pub const SEARCH_PAGE_ROWS: usize = PAGE_SCAN_ROWS / SEARCH_PAGES;
/// The most bytes of bodies of each page that a search reads: four of the largest messages. So one search parses at
/// most 40 MiB, some tens of milliseconds of a core, and 10,000 messages of 4 kB.
pub const SEARCH_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// The most searches that run at once: each reads as much as ten pages. Half of SQLite's readers stay free for others.
pub const MAX_SEARCHES: usize = 2;
/// Connections that read history. More would only queue inside PostgreSQL on the machines that agentbus is
/// meant for.
pub const STORE_READERS: u32 = 8;
/// Connections of a SQLite store that read: as many as a laptop has cores to spare.
pub const SQLITE_READERS: u32 = 4;
/// Connections for lease, watermark and membership, which slow reads must not starve.
pub const STORE_CONTROLS: u32 = 2;
/// Connections that move cursors of inboxes. Agents confirm messages at any rate, and must not hold up the
/// lease.
pub const STORE_CURSORS: u32 = 2;
/// Connections for work queues. Their transactions take milliseconds, so four connections carry thousands of
/// leases a second.
pub const STORE_JOBS: u32 = 4;
/// Time limit for a reader to get a connection. So an unreachable store is reported in 3 s, within the 6 s
/// that the contract allows a 503.
pub const STORE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for a read in the database. Every plan is bounded, so a longer read is a fault.
pub const STORE_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a write in the database. A batch takes milliseconds, a checkpoint on a slow disk seconds.
pub const STORE_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a statement's time limit its connection is closed. The database ends the statement itself,
/// unless the network is down.
pub const STORE_GRACE: Duration = Duration::from_secs(1);
/// How long a migration waits for a lock of PostgreSQL. Meanwhile writes of the table queue behind it: they must
/// not notice. Half of PostgreSQL's default `deadlock_timeout`.
pub const SCHEMA_LOCK_WAIT: Duration = Duration::from_millis(500);
/// Pause after a migration did not get a lock: twice as long, so that what queued behind it catches up.
pub const SCHEMA_LOCK_RETRY: Duration = Duration::from_secs(1);
/// For how long a migration is tried again in one go. A starting server begins anew after that, and shows why.
pub const SCHEMA_LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// How long a starting server waits for the membership lock of a killed one to end. The kernel closes the
/// killed server's connection at once, and PostgreSQL notices in milliseconds.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a starting server tries to get the membership lock.
pub const JOIN_RETRY: Duration = Duration::from_millis(100);
/// How often a server verifies its session with the database. A server that lost it notices within twice this
/// time.
pub const MEMBERSHIP_PING: Duration = Duration::from_secs(2);
/// The most rows of one SQLite insert. More are no faster (measured), and SQLite allows 32,766 parameters.
pub const SQLITE_INSERT_ROWS: usize = 64;
/// The row counts with which inserts are prepared: few, because each is a statement of its own. Rows are split by the
/// largest count that fits; what is left below [`SQLITE_INSERT_ROWS`] takes at most three inserts.
pub const INSERT_SIZES: [usize; 12] = [SQLITE_INSERT_ROWS, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
/// Prepared statements that a store connection keeps: one for each shape of filter in use.
pub const STORE_STATEMENTS: usize = 256;
/// Page cache of each SQLite connection, in KiB. It holds the upper levels of thirteen indices of a million
/// rows, so that a write reads no index page twice.
pub const SQLITE_CACHE_KIB: u32 = 16 * 1024;
/// The most ids that one SQLite statement looks up: far below its 32,766 parameters.
pub const SQLITE_STATEMENT_IDS: usize = 1_000;
/// Pages of SQLite's write-ahead log after which a write moves them into the database: 16 MiB. A page that
/// every batch writes is then moved once for many batches (a sixth faster than with 1,000 pages, measured).
pub const SQLITE_CHECKPOINT_PAGES: u32 = 4_000;
/// If fewer sequences than this are left in the partition that a page begins in, the first statement of the
/// page reads the next partition too. This many sequences fill a page of a hundred messages if one in a
/// thousand matches.
pub const NEAREST_SEQS: u64 = PARTITION_SEQS / 10;
/// Partitions that the second statement of a page reads, if the first has not filled the page. PostgreSQL
/// plans and locks each with its 14 indices, and its lock table has room for 6,400 locks by default.
pub const NEXT_WINDOW_PARTITIONS: usize = 4;
/// Partitions that each further statement of a page reads, when the values of a filter are rare.
pub const WINDOW_PARTITIONS: usize = 16;
/// Connections for background processing. Leases and outcomes are batches, and more connections would only
/// wait for each other's fsync.
pub const STORE_WORKERS: u32 = 4;
/// The most bytes of an error output of PostgreSQL's programs that are shown: the first lines say what is wrong.
pub const PROGRAM_ERROR_BYTES: u64 = 4 * 1024;
/// Bytes of a backup's file that are copied or hashed at once: larger pieces are no faster.
pub const BACKUP_CHUNK: usize = 1024 * 1024;
