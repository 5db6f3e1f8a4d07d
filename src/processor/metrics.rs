//! The counters of each consumer that runs here. They disappear with the consumer.
//!
//! Invariant: nothing is kept in memory for a consumer that no longer runs here. The recorder of all other metrics
//! never forgets a series, so it is not used: the consumers of webhooks come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::telemetry::text::{Family, Kind};

/// Counts of one consumer in this process.
#[derive(Debug, Default)]
pub(super) struct ConsumerCounters {
    pub processed: AtomicU64,
    pub failed: AtomicU64,
    pub expired: AtomicU64,
    pub set_aside: AtomicU64,
    pub dead: AtomicU64,
}

/// The counters of the consumers that run here.
#[derive(Debug, Default)]
pub(super) struct ConsumerMetrics {
    counts: Mutex<BTreeMap<String, Arc<ConsumerCounters>>>,
}

/// Reads one counter.
type CounterOf = fn(&ConsumerCounters) -> &AtomicU64;

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family(name, Kind::Counter, help)
}

const COUNTERS: [(Family, CounterOf); 5] = [
    (
        counter("agentbus_consumer_processed_total", "Messages this process ran with success"),
        |counts| &counts.processed,
    ),
    (counter("agentbus_consumer_failed_total", "Attempts that failed in this process"), |counts| {
        &counts.failed
    }),
    (
        counter(
            "agentbus_consumer_expired_total",
            "Messages this process skipped because they had expired",
        ),
        |counts| &counts.expired,
    ),
    (
        counter(
            "agentbus_consumer_set_aside_total",
            "Messages this process set aside for another attempt",
        ),
        |counts| &counts.set_aside,
    ),
    (
        counter("agentbus_consumer_dead_total", "Messages whose attempt here was their last"),
        |counts| &counts.dead,
    ),
];

impl ConsumerMetrics {
    /// Begins to count for a consumer that starts to run here.
    pub(super) fn begin(&self, consumer: &str) -> Arc<ConsumerCounters> {
        Arc::clone(self.counts.lock().entry(consumer.to_owned()).or_default())
    }

    /// Forgets the counters of a consumer that no longer runs here.
    pub(super) fn end(&self, consumer: &str) {
        self.counts.lock().remove(consumer);
    }

    /// Appends the counters in Prometheus's text format.
    pub(super) fn write(&self, text: &mut String) {
        let counts = self.counts.lock();
        for (family, of) in COUNTERS {
            // The names of consumers hold nothing that must be escaped.
            let series = counts.iter().map(|(name, counts)| {
                (format!("consumer=\"{name}\""), of(counts).load(Ordering::Relaxed))
            });
            family.write(text, series);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_has_ended_shows_no_metrics() {
        let series = ConsumerMetrics::default();
        series.begin("a").processed.fetch_add(2, Ordering::Relaxed);
        series.begin("b");
        let shown = || {
            let mut text = String::new();
            series.write(&mut text);
            text
        };
        let line = |text: &str, line: &str| text.lines().any(|shown| shown == line);
        let (a, b) = (
            "agentbus_consumer_processed_total{consumer=\"a\"} 2",
            "agentbus_consumer_processed_total{consumer=\"b\"} 0",
        );
        let all = shown();
        assert!(line(&all, a) && line(&all, b), "{all}");
        assert!(line(&all, "# TYPE agentbus_consumer_processed_total counter"), "{all}");
        series.end("b");
        let one = shown();
        assert!(line(&one, a) && !one.contains("consumer=\"b\""), "{one}");
        series.end("a");
        assert!(!shown().contains("consumer="));
    }
}
