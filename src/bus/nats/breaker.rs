//! A circuit breaker: after a failure, publishes fail at once instead of waiting for a bus that does not
//! answer.
//!
//! Invariant: a pure state machine. Time and the number of connections made so far are passed in. While open,
//! it admits exactly one publish, the probe, after each pause.

use std::time::Instant;

use crate::backoff::Backoff;
use crate::limits::{NATS_BREAKER_FIRST, NATS_BREAKER_LONGEST, PUBLISH_DEADLINE};

/// Closed until a failure, then open with doubling pauses until a success.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// No publish is admitted before this time.
    until: Instant,
    /// Computes the pauses, which get longer with each failed probe.
    pauses: Backoff,
    /// Whether a probe was admitted whose outcome is not known yet.
    probing: bool,
    /// The number of connections when the breaker opened. After a new connection a probe is admitted at once.
    connects: u64,
    reason: String,
}

impl Breaker {
    /// Admits a publish, or returns the reason why not.
    pub(super) fn admit(&mut self, now: Instant, connects: u64) -> Result<(), String> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if connects > open.connects {
            open.connects = connects;
        } else if now < open.until {
            return Err(format!("circuit open after: {}", open.reason));
        }
        // A probe whose caller gave up reports no outcome. So the next probe is admitted after the longest
        // time that a publish can take.
        open.probing = true;
        open.until = now + PUBLISH_DEADLINE;
        Ok(())
    }

    /// Records that the bus answered. Returns whether that closes the breaker.
    pub(super) fn success(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// Records that the bus did not answer. Returns whether that opens the breaker.
    pub(super) fn failure(&mut self, now: Instant, connects: u64, reason: &str) -> bool {
        match &mut self.open {
            None => {
                let mut pauses = Backoff::new(NATS_BREAKER_FIRST, NATS_BREAKER_LONGEST);
                self.open = Some(Open {
                    until: now + pauses.next_wait(),
                    pauses,
                    probing: false,
                    connects,
                    reason: reason.to_owned(),
                });
                true
            }
            Some(open) if open.probing => {
                open.until = now + open.pauses.next_wait();
                open.probing = false;
                open.connects = connects;
                reason.clone_into(&mut open.reason);
                false
            }
            // This publish was in flight when the breaker opened, so it does not prolong the pause.
            Some(_) => false,
        }
    }

    /// The reason why no publish is admitted now, if there is one. After its pause an open breaker reports
    /// none: otherwise a load balancer might never send the publish that closes it.
    pub(super) fn refusal(&self, now: Instant, connects: u64) -> Option<&str> {
        let open = self.open.as_ref()?;
        (now < open.until && connects <= open.connects).then_some(open.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn opens_at_the_first_failure_and_admits_one_probe() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.admit(start, 1).is_ok());
        breaker.failure(start, 1, "no ack");
        assert_eq!(breaker.refusal(start, 1), Some("no ack"));
        assert!(breaker.admit(start + 249 * MS, 1).is_err());
        assert!(breaker.admit(start + 250 * MS, 1).is_ok(), "the probe");
        assert!(breaker.admit(start + 250 * MS, 1).is_err(), "one only");
        breaker.success();
        assert!(breaker.admit(start + 251 * MS, 1).is_ok());
        assert_eq!(breaker.refusal(start, 1), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        breaker.failure(now, 1, "x");
        for pause in [250, 500, 1_000, 2_000, 4_000, 4_000] {
            assert!(breaker.admit(now + (pause - 1) * MS, 1).is_err(), "{pause}");
            now += pause * MS;
            assert!(breaker.admit(now, 1).is_ok(), "{pause}");
            breaker.failure(now, 1, "x");
        }
    }

    #[test]
    fn failures_of_publishes_in_flight_do_not_prolong_the_pause() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        breaker.failure(start, 1, "x");
        for _ in 0..64 {
            breaker.failure(start + 200 * MS, 1, "x");
        }
        assert!(breaker.admit(start + 250 * MS, 1).is_ok());
    }

    #[test]
    fn a_new_connection_is_probed_at_once() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        breaker.failure(start, 1, "x");
        assert!(breaker.admit(start + MS, 1).is_err());
        assert!(breaker.admit(start + MS, 2).is_ok());
        assert!(breaker.admit(start + 2 * MS, 2).is_err(), "one only");
    }

    #[test]
    fn a_probe_without_an_outcome_does_not_block_later_probes() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        breaker.failure(start, 1, "x");
        assert!(breaker.admit(start + 250 * MS, 1).is_ok());
        assert!(breaker.admit(start + 300 * MS, 1).is_err());
        assert!(breaker.admit(start + 250 * MS + PUBLISH_DEADLINE, 1).is_ok());
    }
}
