//! The waits between attempts: exponential, jittered, bounded.
//!
//! Invariant: a wait is at least as long as the server asked for, but not longer than [`LONGEST_WAIT`] and
//! its jitter. The jitter keeps clients from returning at the same moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{FIRST_WAIT, LONGEST_WAIT};

/// The waits of one operation that may be retried.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
    /// No attempt starts after this time; `None` for no limit.
    deadline: Option<Instant>,
}

impl Backoff {
    /// Allows retries for `span` from now; [`Duration::MAX`] for ever.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        Self { attempts: 0, deadline: Instant::now().checked_add(span) }
    }

    /// How long to wait before the next attempt: at least `asked_for`, the server's `Retry-After`. `None` if
    /// there is no time left.
    pub fn next_wait(&mut self, asked_for: Option<Duration>) -> Option<Duration> {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        let wait = doubled
            .max(asked_for.unwrap_or_default())
            .min(LONGEST_WAIT)
            .mul_f64(1.0 + fastrand::f64() / 4.0);
        match self.deadline {
            Some(deadline) if Instant::now() + wait > deadline => None,
            _ => Some(wait),
        }
    }

    /// Whether [`Self::next_wait`] has not been called yet.
    #[must_use]
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
        assert!(waited <= Duration::from_secs(10));
        assert!(Backoff::new(Duration::ZERO).next_wait(None).is_none());
    }
}
