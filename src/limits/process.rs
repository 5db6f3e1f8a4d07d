//! Limits of the process: start, stop, checks.

use std::time::Duration;

/// Pause after a fault of bus or store before a background task tries again.
pub const FAULT_PAUSE: Duration = Duration::from_millis(250);
/// How often latency samples become counts. Until then, or until the metrics are read, each takes 24 bytes.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(1);
/// How long a health check waits for bus or store.
pub const HEALTH_WAIT: Duration = Duration::from_secs(1);
/// Pause between attempts to reach a bus or a store that was absent at start.
pub const START_RETRY: Duration = Duration::from_millis(500);
/// How long writer and projector may take to stop after requests have ended: several writes.
pub const CORE_STOP: Duration = Duration::from_secs(5);
/// How often a server checks its membership: one that was replaced stops within seconds.
pub const MEMBERSHIP_CHECK: Duration = Duration::from_secs(1);
/// By how much the store's clock may differ from ours before `doctor` reports it: leases last seconds, and times
/// of messages should show their order.
pub const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);
