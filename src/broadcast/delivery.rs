//! Measures how fresh live messages are: the time from the log to a stream that waited for them.
//!
//! Invariant: the client's share is left out, since only a stream that had sent everything is measured; and a stream is
//! measured ten times a second at most, so that a busy one costs no more than a quiet one.

use std::sync::Arc;

use metrics::Histogram;
use tokio::time::Instant;

use super::event::Event;
use crate::clock::Clock;
use crate::limits::DELIVERY_SAMPLE;

/// The times of deliveries.
pub(super) struct Delivery {
    seconds: Histogram,
    clock: Clock,
}

impl Default for Delivery {
    fn default() -> Self {
        let seconds = metrics::histogram!("agentbus_stream_delivery_seconds");
        Self { seconds, clock: Clock::system() }
    }
}

impl Delivery {
    /// Records the age of the oldest of these events, unless the stream was measured at `last`, just now.
    pub(super) fn record(&self, last: &mut Option<Instant>, events: &[Arc<Event>]) {
        let Some(oldest) = events.first() else { return };
        let now = Instant::now();
        if last.is_some_and(|last| now - last < DELIVERY_SAMPLE) {
            return;
        }
        *last = Some(now);
        // The log's clock may be ahead of this one.
        let age = (self.clock.now() - oldest.record.logged_at).to_std().unwrap_or_default();
        self.seconds.record(age.as_secs_f64());
    }
}
