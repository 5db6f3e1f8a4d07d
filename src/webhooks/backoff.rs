//! How long a message waits between two attempts to deliver it.

use std::str::FromStr;
use std::time::Duration;

use crate::limits::{DEFAULT_WEBHOOK_BACKOFF, MAX_WEBHOOK_ATTEMPTS, MAX_WEBHOOK_WAIT};

/// The wait after the first failed attempt, after the second and so on. After
/// the attempt that follows the last wait a message is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff(Vec<Duration>);

impl Backoff {
    /// Attempts in all.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX)
    }

    /// The waits.
    #[must_use]
    pub fn waits(&self) -> &[Duration] {
        &self.0
    }

    /// The wait after `attempt` (from 1 on), a fifth shorter to a fifth longer as
    /// `chance` (0 to 1) has it, so that what failed together does not come back together;
    /// and never shorter than what the receiver asked for.
    #[must_use]
    pub fn after(&self, attempt: u32, asked_for: Option<Duration>, chance: f64) -> Duration {
        let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.0.get(at).or(self.0.last()).copied().unwrap_or_default();
        wait.mul_f64(0.8 + 0.4 * chance).max(asked_for.unwrap_or_default())
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(DEFAULT_WEBHOOK_BACKOFF.to_vec())
    }
}

impl FromStr for Backoff {
    type Err = ();

    /// Seconds, comma separated: `5,30,120`.
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
        let backoff = Backoff::default();
        assert_eq!(backoff.attempts(), 10);
        let hours = backoff.waits().iter().sum::<Duration>().as_secs() / 3_600;
        assert_eq!(hours, 15);
    }

    #[test]
    fn waits_are_jittered_and_heed_the_receiver() {
        let backoff: Backoff = "10, 100".parse().expect("a list");
        let seconds = |attempt, chance| backoff.after(attempt, None, chance).as_secs();
        assert_eq!((seconds(1, 0.0), seconds(1, 0.5), seconds(1, 1.0)), (8, 10, 12));
        assert_eq!((seconds(2, 0.5), seconds(3, 0.5), seconds(0, 0.5)), (100, 100, 10));
        let asked = |seconds| backoff.after(1, Some(Duration::from_secs(seconds)), 0.5).as_secs();
        assert_eq!((asked(1), asked(60)), (10, 60));
    }

    #[test]
    fn a_list_of_seconds_is_taken_and_nothing_else() {
        assert_eq!("0".parse::<Backoff>().map(|b| b.attempts()), Ok(2));
        let long = ["1"; MAX_WEBHOOK_ATTEMPTS].join(",");
        for bad in ["", "1,", "a", "-1", "1.5", "1;2", "604801", long.as_str()] {
            assert_eq!(bad.parse::<Backoff>(), Err(()), "{bad}");
        }
    }
}
