//! Derives from the outcome of an attempt what the store records.
//!
//! Invariant: no I/O. Time and randomness are parameters.

use chrono::{DateTime, Utc};

use super::handler::Outcome;
use super::in_flight::InFlightMessage;
use super::policy::Policy;
use crate::limits::MAX_ATTEMPT_ERROR;
use crate::store::work::{Attempt, AttemptOutcome};

/// A message, and the outcome that the store must record for it.
pub(super) struct Settlement {
    pub message: InFlightMessage,
    pub outcome: AttemptOutcome,
}

/// What the store records for a message after attempt number `attempt`. `chance`, from 0 to 1, spreads the
/// backoff.
pub(super) fn attempt_outcome(
    policy: &Policy,
    attempt: u32,
    outcome: Outcome,
    at: DateTime<Utc>,
    chance: f64,
) -> AttemptOutcome {
    let failed = |error| Attempt { attempt, at, error: shortened(error) };
    match outcome {
        Outcome::Done => AttemptOutcome::Done,
        Outcome::Reject { error } => {
            AttemptOutcome::Dead { attempt: Some(failed(error)), reason: "rejected".to_owned() }
        }
        Outcome::Retry { error, .. } if attempt >= policy.max_deliver => AttemptOutcome::Dead {
            attempt: Some(failed(error)),
            reason: format!("failed {attempt} of {} times", policy.max_deliver),
        },
        Outcome::Retry { after, error } => AttemptOutcome::Retry {
            attempt: failed(error),
            delay: after.unwrap_or_else(|| policy.pause(attempt, chance)),
        },
    }
}

/// Shortens an error to its end, which usually says most.
fn shortened(mut error: String) -> String {
    let mut cut = error.len().saturating_sub(MAX_ATTEMPT_ERROR);
    while !error.is_char_boundary(cut) {
        cut += 1;
    }
    error.drain(..cut);
    without_nul(&error)
}

/// Removes U+0000, which PostgreSQL does not accept in a text.
pub(super) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_last_attempt_buries_and_a_rejection_does_at_once() {
        let (policy, at) = (Policy::default(), chrono::DateTime::UNIX_EPOCH);
        let retry = |after| Outcome::Retry { after, error: "no".to_owned() };
        let failed = |attempt| Attempt { attempt, at, error: "no".to_owned() };
        let given = |attempt, outcome| attempt_outcome(&policy, attempt, outcome, at, 0.5);
        let again = |attempt, secs| AttemptOutcome::Retry {
            attempt: failed(attempt),
            delay: Duration::from_secs(secs),
        };
        assert_eq!(given(1, retry(None)), again(1, 1));
        assert_eq!(given(2, retry(Some(Duration::from_secs(77)))), again(2, 77));
        assert!(matches!(given(3, retry(None)), AttemptOutcome::Dead { attempt: Some(_), .. }));
        let reject = Outcome::Reject { error: "no".to_owned() };
        assert_eq!(
            given(1, reject),
            AttemptOutcome::Dead { attempt: Some(failed(1)), reason: "rejected".to_owned() }
        );
        assert_eq!(given(1, Outcome::Done), AttemptOutcome::Done);
    }

    #[test]
    fn of_a_long_error_the_end_is_kept() {
        let long = format!("{}é\0end", "x".repeat(MAX_ATTEMPT_ERROR));
        let kept = shortened(long);
        assert!(kept.len() <= MAX_ATTEMPT_ERROR + 2 && kept.ends_with("é\u{fffd}end"));
    }
}
