//! The waits between attempts: exponential, with full jitter, bounded.
//!
//! Invariant: a wait is at least as long as the server asked for. The jitter keeps clients from returning at the
//! same moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{FIRST_WAIT, LONGEST_REQUEST_WAIT, LONGEST_WAIT};

/// The waits of one operation that may be retried.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    /// The upper bound of the first wait; each further bound is twice as high.
    base: Duration,
    /// No attempt starts after this time; `None` for no limit.
    deadline: Option<Instant>,
}

impl Backoff {
    /// Allows retries for `span` from now; [`Duration::MAX`] for ever.
    pub fn new(span: Duration) -> Self {
        Self { attempts: 0, base: FIRST_WAIT, deadline: Instant::now().checked_add(span) }
    }

    /// Sets the upper bound of the first wait.
    pub fn set_base(&mut self, base: Duration) {
        self.base = base;
    }

    /// How long to wait before the next attempt: at least `asked_for`, the server's `Retry-After`. `None` if
    /// there is no time left, or the server asks for more than that. The last attempt is at the deadline at the latest.
    /// Without a deadline, no wait is longer than [`LONGEST_WAIT`] and a quarter.
    pub fn next_wait(&mut self, asked_for: Option<Duration>) -> Option<Duration> {
        let doubled = self.base.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        let asked_for = asked_for.unwrap_or_default();
        let jittered = |longest: Duration, least: Duration| {
            let wait = doubled.min(longest).mul_f64(fastrand::f64());
            wait.max(least.saturating_add(least.min(longest).mul_f64(fastrand::f64() / 4.0)))
        };
        let Some(deadline) = self.deadline else {
            return Some(jittered(LONGEST_WAIT, asked_for.min(LONGEST_WAIT)));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let is_possible = !left.is_zero() && asked_for <= left;
        is_possible.then(|| jittered(LONGEST_REQUEST_WAIT, asked_for).min(left))
    }

    /// Whether [`Self::next_wait`] has not been called yet.
    pub fn is_first(&self) -> bool {
        self.attempts == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn heeds_the_server_and_its_own_bounds() {
        let mut backoff = Backoff::new(Duration::MAX);
        let asked = Duration::from_secs(3);
        assert!(backoff.next_wait(Some(asked)).is_some_and(|wait| wait >= asked));
        for _ in 0..100 {
            let wait = backoff.next_wait(Some(Duration::from_secs(86_400)));
            assert!(wait.is_some_and(|wait| wait <= LONGEST_WAIT.mul_f64(1.25)));
            assert!(backoff.next_wait(None).is_some_and(|wait| wait <= LONGEST_WAIT));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wait_is_below_its_bound() {
        for _ in 0..100 {
            let mut backoff = Backoff::new(Duration::MAX);
            backoff.set_base(Duration::from_secs(2));
            assert!(backoff.next_wait(None).is_some_and(|wait| wait <= Duration::from_secs(2)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stops_when_its_time_is_up() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let mut waited = Duration::ZERO;
        while let Some(wait) = backoff.next_wait(None) {
            tokio::time::advance(wait).await;
            waited += wait;
        }
        assert_eq!(waited, Duration::from_secs(10), "it does not give up early");
        assert!(Backoff::new(Duration::ZERO).next_wait(Some(Duration::from_millis(1))).is_none());
        let mut backoff = Backoff::new(Duration::from_secs(10));
        assert_eq!(backoff.next_wait(Some(Duration::from_secs(86_400))), None);
    }
}
