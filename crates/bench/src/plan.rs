//! The parameters of a run.
//!
//! Invariant: a [`Plan`] that passes [`Plan::check`] can be run; the check reports all faults together.

use std::time::Duration;

use super::limits::{MAX_CONNECTIONS, MAX_DURATION, MAX_RATE, MAX_SIZES, MAX_TASKS};
use agentbus_message::limits::{MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES};

/// Bytes of a generated message without its content.
const ENVELOPE_BYTES: usize = 256;

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Messages a second; `None` for a closed loop, in which each connection sends again when it has its response.
    pub rate: Option<f64>,
    /// The measured time.
    pub duration: Duration,
    /// Time of load before the measured time.
    pub warmup: Duration,
    /// Connections that send.
    pub connections: usize,
    /// Bytes of content; messages take the sizes in turn.
    pub sizes: Vec<usize>,
    /// Messages of a request: 1 for `POST /v1/messages`, more for NDJSON batches.
    pub batch: usize,
    /// Whether each message has an id from the client.
    pub ids: bool,
    /// Whether the server responds after the store has the message (`ack=committed`).
    pub committed: bool,
    /// Number of tasks; messages are events of them in turn. 0 for broadcast messages.
    pub tasks: usize,
    /// Connections subscribed to `/v1/stream`.
    pub subscribers: usize,
    /// Queries that subscribers take in turn; `{n}` is the number of the subscriber, five digits from 00000.
    pub filters: Vec<String>,
    /// Whether to sample the projector's lag.
    pub watch_lag: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rate: None,
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(1),
            connections: 64,
            sizes: vec![128],
            batch: 1,
            ids: false,
            committed: false,
            tasks: 0,
            subscribers: 0,
            filters: Vec::new(),
            watch_lag: true,
        }
    }
}

impl Plan {
    /// Checks the parameters.
    ///
    /// # Errors
    /// A text for each fault.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let mut require = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        if let Some(rate) = self.rate {
            let fits = rate > 0.0 && rate <= MAX_RATE;
            require(fits, format!("a rate must be above 0 and at most {MAX_RATE}"));
        }
        let is_allowed = |time: Duration| time <= MAX_DURATION;
        require(
            is_allowed(self.duration) && is_allowed(self.warmup) && !self.duration.is_zero(),
            format!("a run lasts above 0 s and at most {} s", MAX_DURATION.as_secs()),
        );
        require(
            (1..=MAX_CONNECTIONS).contains(&self.connections),
            format!("connections must be 1 to {MAX_CONNECTIONS}"),
        );
        require(
            self.subscribers <= MAX_CONNECTIONS,
            format!("subscribers must be at most {MAX_CONNECTIONS}"),
        );
        require(
            (1..=MAX_BATCH_MESSAGES).contains(&self.batch),
            format!("a batch has 1 to {MAX_BATCH_MESSAGES} messages"),
        );
        require(
            (1..=MAX_SIZES).contains(&self.sizes.len()),
            format!("sizes must be 1 to {MAX_SIZES}"),
        );
        let largest = self.sizes.iter().copied().max().unwrap_or_default();
        require(
            largest <= MAX_MESSAGE_BYTES - ENVELOPE_BYTES,
            format!("content must be at most {} bytes", MAX_MESSAGE_BYTES - ENVELOPE_BYTES),
        );
        require(
            self.batch == 1
                || self.batch.saturating_mul(largest + ENVELOPE_BYTES) <= MAX_REQUEST_BYTES,
            format!("a batch is at most {MAX_REQUEST_BYTES} bytes: fewer messages, or smaller"),
        );
        require(self.tasks <= MAX_TASKS, format!("tasks must be at most {MAX_TASKS}"));
        require(
            self.filters.is_empty() || self.subscribers > 0,
            "filters are for subscribers: say how many".to_owned(),
        );
        for filter in &self.filters {
            require(
                filter.contains('=')
                    && filter.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
                format!(
                    "{filter:?} is not a query: write it like kind=task&sender=ann, URL-encoded"
                ),
            );
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The query of a subscriber, with `?` and its number; empty without filters.
    #[must_use]
    pub fn filter(&self, subscriber: usize) -> String {
        if self.filters.is_empty() {
            return String::new();
        }
        let filter = &self.filters[subscriber % self.filters.len()];
        format!("?{}", filter.replace("{n}", &format!("{subscriber:05}")))
    }

    /// Requests a second; `None` for a closed loop.
    #[must_use]
    pub fn requests_per_second(&self) -> Option<f64> {
        self.rate.map(|rate| rate / self.batch as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_be_run() {
        assert_eq!(Plan::default().check(), Ok(()));
    }

    #[test]
    fn all_faults_are_reported_together() {
        let wrong = Plan {
            rate: Some(0.0),
            duration: Duration::ZERO,
            connections: 0,
            sizes: vec![2_000_000],
            batch: 2_000,
            subscribers: 60_000,
            filters: vec!["kind task".to_owned()],
            tasks: 200_000,
            ..Plan::default()
        };
        let faults = wrong.check().expect_err("wrong");
        assert_eq!(faults.len(), 9, "{faults:?}");
        let without_subscribers = Plan { filters: vec!["kind=task".to_owned()], ..Plan::default() };
        assert!(without_subscribers.check().is_err());
    }

    #[test]
    fn subscribers_take_filters_in_turn_with_their_number() {
        let filters = ["task=bench-{n}", "kind=status"].map(str::to_owned).to_vec();
        let plan = Plan { filters, ..Plan::default() };
        assert_eq!(plan.filter(4), "?task=bench-00004");
        assert_eq!(plan.filter(5), "?kind=status");
        assert_eq!(Plan::default().filter(3), "");
    }
}
