//! A consumer's policy: how often and how soon a message is tried.
//!
//! Invariant: no I/O. Randomness is a parameter.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::limits::{CONSUMER_ACK_WAIT, CONSUMER_BACKOFF, CONSUMER_MAX_DELIVER};
use crate::store::work::Attempt;

/// The error of a first attempt that was never settled.
const MAY_HAVE_RUN: &str = "its worker died or gave no sign of life; it may have run";

/// How often and how soon a consumer's messages are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a process may be silent before another process may get the message. Prolonged for as long as
    /// the process lives.
    pub ack_wait: Duration,
    /// The most attempts, at least 1. After the last one a message becomes a dead letter.
    pub max_deliver: u32,
    /// Pauses after the first failure, the second, and so on; the last pause repeats.
    pub backoff: Vec<Duration>,
}

impl Default for Policy {
    /// The policy of `agent-processor` (contract, section 10).
    fn default() -> Self {
        Self {
            ack_wait: CONSUMER_ACK_WAIT,
            max_deliver: CONSUMER_MAX_DELIVER,
            backoff: CONSUMER_BACKOFF.to_vec(),
        }
    }
}

impl Policy {
    /// The pause after the failed attempt number `attempt` (1 is the first). It varies by up to a tenth
    /// either way with `chance` (0 to 1), so that messages that failed together are not retried together.
    #[must_use]
    pub fn pause(&self, attempt: u32, chance: f64) -> Duration {
        let at = usize::try_from(attempt.max(1) - 1).unwrap_or(usize::MAX);
        let pause = self.backoff.get(at).or(self.backoff.last()).copied().unwrap_or_default();
        pause.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
    }

    /// The first attempt of a message that an ended process may have begun, as a failed attempt. `None` if
    /// the policy allows only one attempt: the doubtful one alone must not make the message a dead letter.
    #[must_use]
    pub(super) fn doubtful(&self, at: DateTime<Utc>) -> Option<Attempt> {
        let doubtful = || Attempt { attempt: 1, at, error: MAY_HAVE_RUN.to_owned() };
        (self.max_deliver > 1).then(doubtful)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_run_counts_unless_it_would_bury() {
        let at = DateTime::UNIX_EPOCH;
        let policy = |max_deliver| Policy { max_deliver, ..Policy::default() };
        assert_eq!(policy(3).doubtful(at).map(|counted| counted.attempt), Some(1));
        assert_eq!(policy(1).doubtful(at), None);
    }

    #[test]
    fn pauses_grow_as_configured_and_the_last_repeats() {
        let policy = Policy::default();
        let at = |attempt| policy.pause(attempt, 0.5).as_secs();
        assert_eq!([at(0), at(1), at(2), at(3), at(4), at(99)], [1, 1, 5, 30, 30, 30]);
        assert_eq!(policy.pause(1, 0.0), Duration::from_millis(900));
        assert_eq!(policy.pause(1, 1.0), Duration::from_millis(1_100));
        assert_eq!(Policy { backoff: Vec::new(), ..policy }.pause(1, 0.0), Duration::ZERO);
    }
}
