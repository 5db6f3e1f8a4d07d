//! A queue's configuration: how long a lease lasts, how many attempts a job has, and the backoff between
//! them.

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

use crate::limits::{MAX_BACKOFF_S, MAX_BACKOFF_STEPS, MAX_DELIVER, MAX_LEASE_S};
use crate::message::{BodyError, ObjectReader, seconds};

/// The configuration of one queue (contract, section 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a lease lasts, unless it is extended.
    pub lease: Duration,
    /// The most attempts of a job; after the last one it becomes a dead letter.
    pub max_deliver: u32,
    /// Delays before the second, third and further attempts; the last delay repeats.
    pub backoff: Vec<Duration>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            max_deliver: 3,
            backoff: [1, 5, 30].map(Duration::from_secs).into(),
        }
    }
}

impl QueueConfig {
    /// Parses the body of a PUT. A member that is left out gets its default.
    ///
    /// # Errors
    /// The body is not JSON, or breaks rules (all of them are reported).
    pub fn parse(json: &[u8]) -> Result<Self, BodyError> {
        let mut form = ObjectReader::parse_optional(json)?;
        let mut config = Self::default();
        if let Some(lease) = form.seconds("lease_s", 1, MAX_LEASE_S) {
            config.lease = lease;
        }
        if let Some(max) = form.whole("max_deliver", 1, MAX_DELIVER) {
            config.max_deliver = u32::try_from(max).unwrap_or(u32::MAX);
        }
        if let Some(raw) = form.raw("backoff_s") {
            match backoff(raw) {
                Some(steps) => config.backoff = steps,
                None => form.fail(
                    "backoff_s",
                    format!(
                        "must be an array of 1 to {MAX_BACKOFF_STEPS} numbers of seconds, each from 0 to {MAX_BACKOFF_S}"
                    ),
                ),
            }
        }
        form.finish("a queue", Some(config))
    }

    /// The delay after a failed attempt; the first attempt is number 1.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Duration {
        let step = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
        let step = step.min(self.backoff.len().saturating_sub(1));
        self.backoff.get(step).copied().unwrap_or_default()
    }

    /// The configuration as JSON members.
    #[must_use]
    pub fn to_json(&self) -> [(&'static str, Value); 3] {
        let steps = self.backoff.iter().copied().map(in_seconds).collect();
        [
            ("lease_s", in_seconds(self.lease)),
            ("max_deliver", json!(self.max_deliver)),
            ("backoff_s", Value::Array(steps)),
        ]
    }
}

fn backoff(raw: &RawValue) -> Option<Vec<Duration>> {
    let steps: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    let bounded = (1..=MAX_BACKOFF_STEPS).contains(&steps.len());
    let steps: Option<Vec<_>> =
        steps.iter().map(|step| seconds(step.get(), 0, MAX_BACKOFF_S)).collect();
    steps.filter(|_| bounded)
}

/// A duration in seconds, as a JSON integer if it is whole.
#[must_use]
pub fn in_seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        return json!(duration.as_secs());
    }
    Number::from_f64(duration.as_secs_f64()).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_left_out_has_its_default() {
        assert_eq!(QueueConfig::parse(b""), Ok(QueueConfig::default()));
        assert_eq!(QueueConfig::parse(b"{}"), Ok(QueueConfig::default()));
        let config = QueueConfig::parse(br#"{"lease_s":2.5,"backoff_s":[0.25,3]}"#).expect("valid");
        assert_eq!((config.lease, config.max_deliver), (Duration::from_millis(2_500), 3));
        let wire: Vec<String> = config.to_json().iter().map(|(_, v)| v.to_string()).collect();
        assert_eq!(wire, ["2.5", "3", "[0.25,3]"]);
    }

    #[test]
    fn the_last_delay_repeats() {
        let config = QueueConfig::default();
        let delays = [1, 2, 3, 4, 100].map(|attempt| config.delay_after(attempt).as_secs());
        assert_eq!(delays, [1, 5, 30, 30, 30]);
    }

    #[test]
    fn every_invalid_member_is_reported() {
        let wrong = br#"{"lease_s":0,"max_deliver":1.5,"backoff_s":[-1],"colour":"red"}"#;
        let Err(BodyError::Invalid(errors)) = QueueConfig::parse(wrong) else {
            panic!("must be invalid");
        };
        let named: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(named, ["/lease_s", "/max_deliver", "/backoff_s", "/colour"]);
    }
}
