//! When each request should begin.
//!
//! Invariant: in an open loop the times are those of the rate alone. A slow server moves none of them:
//! a request whose time has passed while no connection was free begins late, and that shows in its
//! latency. What could not begin within [`BACKLOG_PATIENCE`] of the end is not sent and is told, so that a
//! run ends however far the server fell behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits::BACKLOG_PATIENCE;

/// The times of a run, handed out in order to whoever is free.
pub struct Schedule {
    begin: Instant,
    end: Instant,
    /// Requests a second; `None` is a closed loop.
    rate: Option<f64>,
    next: AtomicU64,
}

impl Schedule {
    /// Requests from `begin` on, for so long.
    #[must_use]
    pub fn new(rate: Option<f64>, begin: Instant, lasts: Duration) -> Self {
        Self { begin, end: begin + lasts, rate, next: AtomicU64::new(0) }
    }

    /// The number and the time of the next request; `None` when the run is over. In a closed loop
    /// the time is now.
    pub fn take(&self, now: Instant) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let time = self.time(number).unwrap_or_else(|| now.max(self.begin));
        (time < self.end && now < self.end + BACKLOG_PATIENCE).then_some((number, time))
    }

    /// Requests of an open loop, from its begin to its end; none of a closed one.
    #[must_use]
    pub fn planned(&self) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        // By the times themselves, since the product alone may be one off.
        let about = (rate * (self.end - self.begin).as_secs_f64()) as u64;
        let within = |number: &u64| self.time(*number).is_some_and(|time| time < self.end);
        (about.saturating_sub(1)..).find(|number| !within(number)).unwrap_or(about)
    }

    fn time(&self, number: u64) -> Option<Instant> {
        self.rate.map(|rate| self.begin + Duration::from_secs_f64(number as f64 / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_keeps_its_times_however_late_it_is_asked() {
        let begin = Instant::now();
        let schedule = Schedule::new(Some(4.0), begin, Duration::from_secs(1));
        let late = begin + Duration::from_secs(3);
        let times: Vec<_> = std::iter::from_fn(|| schedule.take(late)).collect();
        let millis: Vec<_> =
            times.iter().map(|(n, time)| (*n, (*time - begin).as_millis())).collect();
        assert_eq!(millis, [(0, 0), (1, 250), (2, 500), (3, 750)]);
    }

    #[test]
    fn a_backlog_is_given_up_after_its_patience_and_what_was_planned_is_known() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let schedule = Schedule::new(Some(4.0), begin, second);
        assert!(schedule.take(begin + second + BACKLOG_PATIENCE).is_none());
        for (rate, planned) in [(4.0, 4), (0.5, 1), (3.3, 4), (10_000.0, 10_000)] {
            assert_eq!(Schedule::new(Some(rate), begin, second).planned(), planned, "{rate}");
        }
        assert_eq!(Schedule::new(None, begin, second).planned(), 0);
    }

    #[test]
    fn a_closed_loop_begins_now_until_its_end() {
        let begin = Instant::now();
        let schedule = Schedule::new(None, begin, Duration::from_secs(1));
        let now = begin + Duration::from_millis(999);
        assert_eq!(schedule.take(now), Some((0, now)));
        assert_eq!(schedule.take(begin + Duration::from_secs(1)), None);
    }
}
