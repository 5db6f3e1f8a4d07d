//! What is sent, how fast, and who listens.
//!
//! Invariant: a [`Plan`] that [`Plan::check`] passes can be run; every fault of another is told at once.

use std::time::Duration;

use super::limits::{MAX_CONNECTIONS, MAX_DURATION, MAX_RATE, MAX_SIZES, MAX_TASKS};
use agentbus_message::limits::{MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES};

/// Bytes of a message of ours beside its content.
const ENVELOPE_BYTES: usize = 256;

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Messages a second; `None` is a closed loop: each connection sends again when it has its answer.
    pub rate: Option<f64>,
    /// How long is measured.
    pub duration: Duration,
    /// How long before that load is put on without being measured.
    pub warmup: Duration,
    /// Connections that send.
    pub connections: usize,
    /// Bytes of content, taken in turn.
    pub sizes: Vec<usize>,
    /// Messages of a request; 1 is `POST /v1/messages`, more are NDJSON batches.
    pub batch: usize,
    /// Whether each message brings an id.
    pub ids: bool,
    /// Whether an answer waits until the store has the message.
    pub committed: bool,
    /// Tasks that messages are events of, in turn; 0 is messages to all.
    pub tasks: usize,
    /// Connections that listen.
    pub subscribers: usize,
    /// What they ask for, in turn, as a query; `{n}` is a subscriber's number in five digits, from 0.
    pub filters: Vec<String>,
    /// Whether to watch the projector while sending.
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
    /// Every fault, in words.
    ///
    /// # Errors
    /// There are some.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, words: String| {
            if !holds {
                faults.push(words);
            }
        };
        if let Some(rate) = self.rate {
            let fits = rate > 0.0 && rate <= MAX_RATE;
            must(fits, format!("a rate must be above 0 and at most {MAX_RATE}"));
        }
        let time = |time: Duration| time <= MAX_DURATION;
        must(
            time(self.duration) && time(self.warmup) && !self.duration.is_zero(),
            format!("a run lasts above 0 s and at most {} s", MAX_DURATION.as_secs()),
        );
        must(
            (1..=MAX_CONNECTIONS).contains(&self.connections),
            format!("connections must be 1 to {MAX_CONNECTIONS}"),
        );
        must(
            self.subscribers <= MAX_CONNECTIONS,
            format!("subscribers must be at most {MAX_CONNECTIONS}"),
        );
        must(
            (1..=MAX_BATCH_MESSAGES).contains(&self.batch),
            format!("a batch has 1 to {MAX_BATCH_MESSAGES} messages"),
        );
        must(
            (1..=MAX_SIZES).contains(&self.sizes.len()),
            format!("sizes must be 1 to {MAX_SIZES}"),
        );
        let largest = self.sizes.iter().copied().max().unwrap_or_default();
        must(
            largest <= MAX_MESSAGE_BYTES - ENVELOPE_BYTES,
            format!("content must be at most {} bytes", MAX_MESSAGE_BYTES - ENVELOPE_BYTES),
        );
        must(
            self.batch == 1
                || self.batch.saturating_mul(largest + ENVELOPE_BYTES) <= MAX_REQUEST_BYTES,
            format!("a batch is at most {MAX_REQUEST_BYTES} bytes: fewer messages, or smaller"),
        );
        must(self.tasks <= MAX_TASKS, format!("tasks must be at most {MAX_TASKS}"));
        must(
            self.filters.is_empty() || self.subscribers > 0,
            "filters are for subscribers: say how many".to_owned(),
        );
        for filter in &self.filters {
            must(
                filter.contains('=')
                    && filter.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
                format!("{filter:?} is no query: write it like kind=task&sender=ann, URL-encoded"),
            );
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The query of a subscriber, with its number put in.
    #[must_use]
    pub fn filter(&self, subscriber: usize) -> String {
        if self.filters.is_empty() {
            return String::new();
        }
        let filter = &self.filters[subscriber % self.filters.len()];
        format!("?{}", filter.replace("{n}", &format!("{subscriber:05}")))
    }

    /// Requests a second of an open loop.
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
    fn every_fault_is_told_at_once() {
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
        let lonely = Plan { filters: vec!["kind=task".to_owned()], ..Plan::default() };
        assert!(lonely.check().is_err());
    }

    #[test]
    fn filters_go_round_and_take_the_number() {
        let filters = ["task=bench-{n}", "kind=status"].map(str::to_owned).to_vec();
        let plan = Plan { filters, ..Plan::default() };
        assert_eq!(plan.filter(4), "?task=bench-00004");
        assert_eq!(plan.filter(5), "?kind=status");
        assert_eq!(Plan::default().filter(3), "");
    }
}
