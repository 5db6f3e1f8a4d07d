//! Limits of what the API offers: pages, inboxes, statuses, counters.

use std::time::Duration;

/// Lapsed statuses that one scan reads: keeps the store's result small.
pub const LAPSE_SCAN_ROWS: usize = 1_000;
/// Lapses published at once: one group commit of the memory bus.
pub const MAX_LAPSE_PUBLISHES: usize = 64;
/// Ids tried for one lapse in one scan, where other messages already have the earlier ones. Nobody without the
/// deployment's secret can take one.
pub const LAPSE_IDS: u32 = 4;
/// Shortest pause between two scans for lapsed statuses that new messages cause.
pub const LAPSE_SCAN_PAUSE: Duration = Duration::from_millis(500);
/// Longest random delay of a server after a status has lapsed: one server is first, and the others see its
/// message.
pub const LAPSE_JITTER: Duration = Duration::from_millis(250);
/// Pause before a lapse that could not be published is tried again.
pub const LAPSE_RETRY: Duration = Duration::from_secs(1);
/// Default messages of a history page (contract, section 3).
pub const DEFAULT_PAGE: usize = 100;
/// Most messages of a history page (contract, section 3).
pub const MAX_PAGE: usize = 1_000;
/// Longest wait for a message in an inbox or for a reply (contract, sections 7 and 9): as long as common proxies
/// leave a silent connection open.
pub const MAX_REPLY_WAIT: Duration = Duration::from_secs(60);
/// Bytes of bodies of one page of an inbox: one full message, or a good hundred usual ones. Ten thousand agents
/// may be woken at one moment.
pub const INBOX_PAGE_BYTES: u64 = 1024 * 1024;
/// Names of types, and of senders, that the counters return: those with the most messages. A response stays below
/// 100 kB, and a console has no use for more.
pub const STATS_NAMES: usize = 500;
/// Agents returned with a task: a page of a thousand tasks stays below 5 MB.
pub const TASK_AGENTS: usize = 64;
/// Pages of inboxes that are read at once: enough to keep the store's readers busy, few enough that others get
/// their turn.
pub const INBOX_READS: usize = 8;
/// How long a request for an unknown id waits for the store to reach the end of the log.
pub const READ_YOUR_WRITE: Duration = Duration::from_secs(1);
