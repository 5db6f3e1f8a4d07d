//! Decides when a connection moves to another server of the cluster.
//!
//! A server that is cut off from the rest of its cluster keeps its clients and answers pings, but leads no
//! stream: for those clients the whole bus is unavailable. Invariant: a connection moves only after
//! [`NATS_FAILOVER_AFTER`] without a response, and not again for as long.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connect::Connection;
use crate::limits::NATS_FAILOVER_AFTER;

/// Measures how long all requests of one kind have had no response.
#[derive(Debug)]
pub(super) struct FailoverTimer {
    since: Mutex<Instant>,
}

impl Default for FailoverTimer {
    fn default() -> Self {
        Self { since: Mutex::new(Instant::now()) }
    }
}

impl FailoverTimer {
    /// Records a response.
    pub(super) fn answered(&self) {
        *self.since.lock() = Instant::now();
    }

    /// Records that a request got no response. Moves the connection to another server if that has lasted too
    /// long.
    pub(super) fn unanswered(&self, connection: &Connection) {
        if self.is_too_long(Instant::now()) {
            connection.try_another_server();
        }
    }

    fn is_too_long(&self, now: Instant) -> bool {
        let mut since = self.since.lock();
        let too_long = now.saturating_duration_since(*since) >= NATS_FAILOVER_AFTER;
        if too_long {
            *since = now;
        }
        too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_too_long_once_per_period() {
        let timer = FailoverTimer::default();
        let start = Instant::now();
        assert!(!timer.is_too_long(start + NATS_FAILOVER_AFTER / 2));
        let late = start + NATS_FAILOVER_AFTER;
        assert!(timer.is_too_long(late));
        let next = late + NATS_FAILOVER_AFTER / 2;
        assert!(!timer.is_too_long(next), "the next server gets its time");
        assert!(timer.is_too_long(late + NATS_FAILOVER_AFTER));
    }
}
