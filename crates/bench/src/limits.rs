//! The limits of the load generator, with their reasons.
//!
//! Invariant: every time-out, buffer size and maximum of the generator is named here.

use std::time::Duration;

/// Time-out of a response: above the 6 s after which the server reports an outage.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time-out of a connect.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a reconnect, so that a server that is down is not flooded.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Largest response: a page of history has 8 MiB of messages.
pub const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// Initial size of a response buffer: the response to a publish fits.
pub const RESPONSE_BUFFER_BYTES: usize = 2 * 1024;
/// Size of the read buffer that the subscribers of a thread share.
pub const READ_BYTES: usize = 128 * 1024;
/// Largest head of a stream's response. The client's parser limits the events.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Concurrent connects: below the usual accept backlogs (1,024 on Linux, 128 elsewhere).
pub const CONCURRENT_CONNECTS: usize = 100;
/// Maximum of sending connections, and of subscribers: one address has 65,535 ports.
pub const MAX_CONNECTIONS: usize = 50_000;
/// Highest rate, in messages a second: more than loopback carries.
pub const MAX_RATE: f64 = 10_000_000.0;
/// Longest measured time, and longest warm-up.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum of tasks: their numbers have five digits.
pub const MAX_TASKS: usize = 100_000;
/// Maximum of different content sizes.
pub const MAX_SIZES: usize = 16;
/// Interval of progress reports.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Interval of lag samples: enough samples in 10 s for a 99th percentile, at under 1 % of the server's processor
/// time.
pub const LAG_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest time between two acknowledgement marks, which limits the memory of a long run.
pub const MARK_INTERVAL: Duration = Duration::from_millis(1);
/// After the end of a run, overdue requests are still sent for this time: longer than a stall that a server
/// recovers from, and short enough that a run at an excessive rate ends.
pub const BACKLOG_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for events after the last response.
pub const EVENTS_TIMEOUT: Duration = Duration::from_secs(60);
/// Missing events are given up when none has arrived for this time: longer than the server waits for a slow
/// subscriber.
pub const MISSING_SILENCE: Duration = Duration::from_secs(10);
/// The same if the expected number of events is unknown, or a stream has ended.
pub const EVENTS_SILENCE: Duration = Duration::from_secs(2);
/// Longest wait for the store to catch up after the last response.
pub const COMMITTED_TIMEOUT: Duration = Duration::from_secs(300);
/// Interval of requests for the store's position during that wait.
pub const COMMITTED_POLL: Duration = Duration::from_millis(5);
/// From this share of stolen processor time on (Linux: steal), a report warns.
pub const STOLEN_WARNING_SHARE: f64 = 0.02;
/// If the 99th percentile of the generator's own delay is above this, its figures are not those of the server alone.
pub const MAX_OWN_DELAY: Duration = Duration::from_millis(5);
/// Below this share of the requested rate, the rate counts as missed.
pub const MIN_RATE_SHARE: f64 = 0.99;
/// Up to this number of subscribers the latency of every event is recorded; with more, that of one in
/// [`SAMPLE_EVERY`] events of each subscriber.
pub const UNSAMPLED_SUBSCRIBERS: usize = 100;
/// See [`UNSAMPLED_SUBSCRIBERS`].
pub const SAMPLE_EVERY: u64 = 16;
/// Shards of the subscribers' counters: more than threads, so that these rarely contend.
pub const SHARDS: usize = 16;
/// Open files other than connections: logs, libraries, the terminal.
pub const SPARE_OPEN_FILES: usize = 100;
