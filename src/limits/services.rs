//! Limits of what the API offers: pages, inboxes, statuses, counters.

use std::time::Duration;

/// The most lapsed statuses that one scan reads, so that the store's result stays small.
pub const LAPSE_SCAN_ROWS: usize = 1_000;
/// The most lapses published at once: one group commit of the memory bus.
pub const MAX_LAPSE_PUBLISHES: usize = 64;
/// The most ids that one scan tries for one lapse, if other messages already have the earlier ones. Only
/// somebody with the deployment's secret can take such an id.
pub const LAPSE_IDS: u32 = 4;
/// Shortest pause between two scans for lapsed statuses that new messages cause.
pub const LAPSE_SCAN_PAUSE: Duration = Duration::from_millis(500);
/// Longest random delay before a server publishes a lapse. So one server is first, and the others see its
/// message.
pub const LAPSE_JITTER: Duration = Duration::from_millis(250);
/// Pause before a lapse that could not be published is tried again.
pub const LAPSE_RETRY: Duration = Duration::from_secs(1);
/// Default number of messages of a history page (contract, section 3).
pub const DEFAULT_PAGE: usize = 100;
/// The most messages of a history page (contract, section 3).
pub const MAX_PAGE: usize = 1_000;
/// The most characters of a text to search for in history: a few lines, as a person copies them.
pub const MAX_SEARCH_CHARS: usize = 1_024;
/// Longest wait for a message in an inbox or for a reply (contract, sections 7 and 9): as long as common proxies
/// leave a silent connection open.
pub const MAX_REPLY_WAIT: Duration = Duration::from_secs(60);
/// The most bytes of bodies of one page of an inbox: one message of the largest size, or a good hundred usual
/// ones; not more, since ten thousand agents may be woken at once.
pub const INBOX_PAGE_BYTES: u64 = 1024 * 1024;
/// The most types, and the most senders, that the counters return: those with the most messages. A response
/// stays below 100 kB, and a console has no use for more.
pub const STATS_NAMES: usize = 500;
/// The most agents returned with a task, so that a page of a thousand tasks stays below 5 MB.
pub const TASK_AGENTS: usize = 64;
/// The most pages of inboxes that are read at once: enough to keep the store's readers busy, few enough that
/// other reads get their turn.
pub const INBOX_READS: usize = 8;
/// How long a request for an unknown id waits for the store to reach the end of the log.
pub const READ_YOUR_WRITE: Duration = Duration::from_secs(1);
