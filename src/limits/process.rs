//! Limits of the process: start, stop, checks.

use std::time::Duration;

/// Pause of a background task after a fault of the bus or the store, before it tries again.
pub const FAULT_PAUSE: Duration = Duration::from_millis(250);
/// How often latency samples are turned into counts. Until then, or until the metrics are read, each takes 24
/// bytes.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(1);
/// Pause between two rounds of reading for the metrics. Short beside the 15 s after which Prometheus usually scrapes.
pub const SURVEY_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a round, as a multiple of the time that the round took. So reading takes at most a tenth of the time of
/// one connection, unless a round takes longer than 3 s.
pub const SURVEY_SHARE: u32 = 10;
/// The longest pause after a round: metrics are true again soon after a fault of bus or store.
pub const SURVEY_LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time limit for one part of a round: several slow requests.
pub const SURVEY_WAIT: Duration = Duration::from_secs(10);
/// Queues, or agents, read in one round. A queue on NATS takes eight requests, so a page takes a few hundred.
pub const SURVEY_PAGE: usize = 50;
/// Queues with series of their own; the others share one. A hundred queues have 500 series.
pub const SURVEY_NAMED: usize = 100;
/// Inboxes with series of their own: those in which the most messages wait. They change, so they are few.
pub const SURVEY_INBOXES: usize = 10;
/// Time limit for the bus or the store to answer a health check.
pub const HEALTH_WAIT: Duration = Duration::from_secs(1);
/// Pause between attempts to reach a bus or a store that was absent at start.
pub const START_RETRY: Duration = Duration::from_millis(500);
/// Time limit for the writer and the projector to stop after requests have ended: time for several writes.
pub const CORE_STOP: Duration = Duration::from_secs(5);
/// How often a server checks its membership. So a server that was replaced stops within seconds.
pub const MEMBERSHIP_CHECK: Duration = Duration::from_secs(1);
/// How much the store's clock may differ from the server's before `doctor` reports it. Leases last seconds,
/// and the times of messages should show their order.
pub const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);
