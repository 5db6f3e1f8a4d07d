//! Limits of webhooks.

use std::time::Duration;

/// The most webhooks of a deployment. Each has a consumer on every server, and reads the whole log.
pub const MAX_WEBHOOKS: usize = 100;
/// The most bytes of a webhook's URL: as many as common servers and proxies take.
pub const MAX_WEBHOOK_URL: usize = 2_048;
/// The most deliveries of one webhook in flight from one server: enough to hide a round trip of 50 ms at 150
/// messages a second, few enough not to flood a small receiver.
pub const WEBHOOK_CONCURRENCY: usize = 8;
/// Time limit for a receiver to accept a connection, including name resolution and TLS.
pub const WEBHOOK_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a whole delivery. Standard Webhooks asks for 15 to 30 s.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// The most idle connections kept open to one receiver between deliveries: as many as are used at once.
pub const WEBHOOK_IDLE_CONNECTIONS: usize = WEBHOOK_CONCURRENCY;
/// How long an idle connection to a receiver is kept: less than the 60 s after which common servers close it.
pub const WEBHOOK_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes that are read of the response to a failed delivery, for the text of the error.
pub const MAX_WEBHOOK_ERROR_BODY: usize = 512;
/// Default of `WEBHOOK_BACKOFF_S`: waits of nearly 16 hours in all, so that a receiver may be down for a
/// night.
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
/// The most attempts by `WEBHOOK_BACKOFF_S`. Each leaves an error of up to [`super::MAX_ATTEMPT_ERROR`] bytes
/// in the row.
pub const MAX_WEBHOOK_ATTEMPTS: usize = 32;
/// The longest `Retry-After` of a receiver that is respected: the longest default wait.
pub const MAX_WEBHOOK_RETRY_AFTER: Duration = Duration::from_secs(8 * 60 * 60);
/// Failures in a row after which a webhook may be paused: more than one message alone can cause before its
/// last attempt.
pub const WEBHOOK_PAUSE_FAILURES: u32 = 10;
/// How long a run of failures must have lasted before a webhook is paused: less than all attempts at one
/// message take. So a receiver that is down longer loses no message, and a resumed webhook goes on where it
/// stopped.
pub const WEBHOOK_PAUSE_AFTER: Duration = Duration::from_secs(12 * 60 * 60);
/// How often the time of a webhook's last success is recorded while deliveries succeed.
pub const WEBHOOK_SUCCESS_EVERY: Duration = Duration::from_secs(1);
/// How often a server reads the list of webhooks, so that changes take effect within a second.
pub const WEBHOOK_POLL: Duration = Duration::from_millis(500);
/// Age from which a consumer without its webhook is removed. Creating a webhook takes seconds, and the clocks
/// of servers differ by less than this.
pub const WEBHOOK_ORPHAN_AGE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// How long the creation of a webhook waits for its host name to be resolved, so that a private address is
/// refused at once.
pub const WEBHOOK_LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
