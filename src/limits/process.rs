//! Limits of the process: start, stop, checks.

use std::time::Duration;

/// Pause of a background task after a fault of the bus or the store, before it tries again.
pub const FAULT_PAUSE: Duration = Duration::from_millis(250);
/// How often latency samples are turned into counts. Until then, or until the metrics are read, each takes 24
/// bytes.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(1);
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
