//! The intended start of each request.
//!
//! Invariant: in an open loop the times depend on the rate alone, not on the server. A request that has to wait for a
//! connection starts late, and its latency includes the wait. Requests that could not start within
//! [`BACKLOG_TIMEOUT`] of the end are not sent and are reported, so that every run ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits::BACKLOG_TIMEOUT;

/// The times of a run, given to free connections in order.
pub struct Schedule {
    begin: Instant,
    end: Instant,
    /// Requests a second; `None` for a closed loop.
    rate: Option<f64>,
    next: AtomicU64,
}

impl Schedule {
    /// Requests from `begin` on, for this time.
    #[must_use]
    pub fn new(rate: Option<f64>, begin: Instant, duration: Duration) -> Self {
        Self { begin, end: begin + duration, rate, next: AtomicU64::new(0) }
    }

    /// The number and the intended time of the next request; `None` at the end of the run. In a closed loop the time
    /// is now.
    pub fn take(&self, now: Instant) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let time = self.time(number).unwrap_or_else(|| now.max(self.begin));
        (time < self.end && now < self.end + BACKLOG_TIMEOUT).then_some((number, time))
    }

    /// The number of requests of an open loop; 0 for a closed one.
    #[must_use]
    pub fn planned(&self) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        // Compares the times, since the rounded product may be off by one.
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
    fn a_late_caller_does_not_move_the_times_of_an_open_loop() {
        let begin = Instant::now();
        let schedule = Schedule::new(Some(4.0), begin, Duration::from_secs(1));
        let late = begin + Duration::from_secs(3);
        let times: Vec<_> = std::iter::from_fn(|| schedule.take(late)).collect();
        let millis: Vec<_> =
            times.iter().map(|(n, time)| (*n, (*time - begin).as_millis())).collect();
        assert_eq!(millis, [(0, 0), (1, 250), (2, 500), (3, 750)]);
    }

    #[test]
    fn a_backlog_is_given_up_after_its_timeout_and_the_planned_number_is_known() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let schedule = Schedule::new(Some(4.0), begin, second);
        assert!(schedule.take(begin + second + BACKLOG_TIMEOUT).is_none());
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
