//! The waits between attempts to deliver a message.

use std::str::FromStr;
use std::time::Duration;

use crate::limits::{DEFAULT_WEBHOOK_BACKOFF, MAX_WEBHOOK_ATTEMPTS, MAX_WEBHOOK_WAIT};
use crate::processor::Policy;

/// The waits after the first failed attempt, after the second and so on. When the attempt after the last wait
/// fails, the message becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff(Vec<Duration>);

impl Backoff {
    /// The policy of a consumer with these waits: it allows one attempt more than there are waits.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let attempts = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        Policy { max_deliver: attempts, backoff: self.0.clone(), ..Policy::default() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(DEFAULT_WEBHOOK_BACKOFF.to_vec())
    }
}

impl FromStr for Backoff {
    type Err = ();

    /// Parses seconds that are separated by commas: `5,30,120`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wait = |item: &str| {
            let seconds = item.trim().parse().ok().map(Duration::from_secs);
            seconds.filter(|wait| *wait <= MAX_WEBHOOK_WAIT).ok_or(())
        };
        let waits = text.split(',').map(wait).collect::<Result<Vec<_>, _>>()?;
        if waits.len() < MAX_WEBHOOK_ATTEMPTS { Ok(Self(waits)) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_over_hours_by_default() {
        let policy = Backoff::default().policy();
        assert_eq!(policy.max_deliver, 10);
        assert_eq!(policy.backoff.iter().sum::<Duration>().as_secs() / 3_600, 15);
    }

    #[test]
    fn a_list_of_seconds_is_taken_and_nothing_else() {
        let policy = "0, 100".parse::<Backoff>().expect("a list").policy();
        assert_eq!((policy.max_deliver, policy.pause(2, 0.5).as_secs()), (3, 100));
        let long = ["1"; MAX_WEBHOOK_ATTEMPTS].join(",");
        for bad in ["", "1,", "a", "-1", "1.5", "1;2", "604801", long.as_str()] {
            assert_eq!(bad.parse::<Backoff>(), Err(()), "{bad}");
        }
    }
}
