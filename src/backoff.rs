//! The waits between attempts: each is twice as long as the one before, up to a bound.
//!
//! Invariant: no wait is longer than the bound. [`Backoff::next_wait`] is exact, for state machines that get
//! the time as an argument. [`Backoff::jittered`] is for many processes that have lost the same server at the
//! same moment.

use std::time::Duration;

/// The largest part of a wait that [`Backoff::jittered`] takes off.
const JITTER: f64 = 0.25;

/// A wait that doubles from the first to the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// The backoff before any attempt has failed.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        wait
    }

    /// The wait before the next attempt, shortened by up to a quarter, so that the attempts of several
    /// processes spread.
    pub fn jittered(&mut self) -> Duration {
        self.next_wait().mul_f64(1.0 - JITTER * fastrand::f64())
    }

    /// Starts again with the first wait, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_until_reset() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(3));
        let waits = [0; 4].map(|_| backoff.next_wait());
        assert_eq!(waits, [1, 2, 3, 3].map(seconds));
        backoff.reset();
        for longest in [1, 2, 3, 3].map(seconds) {
            let wait = backoff.jittered();
            assert!((longest.mul_f64(0.75)..=longest).contains(&wait), "{wait:?}");
        }
    }
}
