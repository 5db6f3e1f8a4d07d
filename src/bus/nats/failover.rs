//! When a connection that is up is to be made with another server of the cluster.
//!
//! Invariant: only where there is another server, after [`NATS_FAILOVER_AFTER`] without an
//! answer, and not again for as long. A server cut off from the rest of its cluster keeps
//! its clients, answers pings, and leads nothing: to them alone the whole bus is away.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connect::Connection;
use crate::limits::NATS_FAILOVER_AFTER;

/// Since when one kind of question has not been answered.
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
    /// An answer came.
    pub(super) fn answered(&self) {
        *self.since.lock() = Instant::now();
    }

    /// A question was not answered: goes to another server, if it is time.
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
    fn is_too_long_once_in_a_while() {
        let timer = FailoverTimer::default();
        let start = Instant::now();
        assert!(!timer.is_too_long(start + NATS_FAILOVER_AFTER / 2));
        let late = start + NATS_FAILOVER_AFTER;
        assert!(timer.is_too_long(late));
        assert!(
            !timer.is_too_long(late + NATS_FAILOVER_AFTER / 2),
            "the next server gets its time"
        );
        assert!(timer.is_too_long(late + NATS_FAILOVER_AFTER));
    }
}
