//! Limits of webhooks.

use std::time::Duration;

/// Webhooks of a deployment: each has a consumer on every server, and reads the whole log.
pub const MAX_WEBHOOKS: usize = 100;
/// Bytes of a webhook's URL: what common servers and proxies take.
pub const MAX_WEBHOOK_URL: usize = 2_048;
/// Deliveries of one webhook in flight from one server: enough to hide a round trip of 50 ms at 150 messages a
/// second, few enough not to flood a small receiver.
pub const WEBHOOK_CONCURRENCY: usize = 8;
/// How long a receiver may take to accept a connection, name resolution and TLS included.
pub const WEBHOOK_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a delivery may take in all: Standard Webhooks asks for 15 to 30 s.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections kept open to one receiver between deliveries: as many as are used at once.
pub const WEBHOOK_IDLE_CONNECTIONS: usize = WEBHOOK_CONCURRENCY;
/// How long they are kept: below the 60 s after which common servers close them.
pub const WEBHOOK_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that are read of a failed delivery's response, for the text of the error.
pub const MAX_WEBHOOK_ERROR_BODY: usize = 512;
/// Default of `WEBHOOK_BACKOFF_S`: nearly 16 hours in all, so that a receiver may be away for a night.
pub const DEFAULT_WEBHOOK_BACKOFF: [Duration; 9] = {
    const fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }
    let (first, second) = (Duration::from_secs(5), Duration::from_secs(30));
    let (hour, half) = (minutes(60), minutes(30));
    [first, second, minutes(2), minutes(10), half, hour, minutes(120), minutes(240), minutes(480)]
};
/// Longest wait in `WEBHOOK_BACKOFF_S`: a week.
pub const MAX_WEBHOOK_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most attempts by `WEBHOOK_BACKOFF_S`: each leaves an error of up to [`super::MAX_ATTEMPT_ERROR`] bytes in the row.
pub const MAX_WEBHOOK_ATTEMPTS: usize = 32;
/// Longest `Retry-After` of a receiver that is respected: the longest default wait.
pub const MAX_WEBHOOK_RETRY_AFTER: Duration = Duration::from_secs(8 * 60 * 60);
/// Failures in a row after which a webhook may be paused: more than one message alone can cause before its last
/// attempt.
pub const WEBHOOK_PAUSE_FAILURES: u32 = 10;
/// How long these must have lasted: less than all attempts at one message, so that a receiver that is away longer
/// loses no message, and resuming goes on where it stopped.
pub const WEBHOOK_PAUSE_AFTER: Duration = Duration::from_secs(12 * 60 * 60);
/// How often a success is recorded while deliveries succeed.
pub const WEBHOOK_SUCCESS_EVERY: Duration = Duration::from_secs(1);
/// How often a server reads which webhooks there are: changes take effect within a second.
pub const WEBHOOK_POLL: Duration = Duration::from_millis(500);
/// Age from which a webhook's consumer without its webhook is removed: creating one takes seconds, and clocks of
/// servers differ by less.
pub const WEBHOOK_ORPHAN_AGE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// How long creating a webhook waits for its name to be resolved, to refuse a private address at once.
pub const WEBHOOK_LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
