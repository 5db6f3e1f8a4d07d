//! The metrics of each consumer. They disappear with the consumer.
//!
//! Invariant: no metrics are shown for a consumer that the store no longer has, and nothing is kept in memory
//! for one that no longer runs here. The recorder of all other metrics never forgets a series, so it is not
//! used: the consumers of webhooks come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counts of one consumer in this process.
#[derive(Debug, Default)]
pub(super) struct ConsumerCounters {
    pub processed: AtomicU64,
    pub failed: AtomicU64,
    pub expired: AtomicU64,
    pub set_aside: AtomicU64,
    pub dead: AtomicU64,
}

/// The state of one consumer, when it was last read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauges {
    pub pending: u64,
    pub in_flight: u64,
    pub dead_letters: u64,
}

/// The counters of the consumers that run here, and the gauges of all consumers.
#[derive(Debug, Default)]
pub(super) struct ConsumerMetrics {
    counts: Mutex<BTreeMap<String, Arc<ConsumerCounters>>>,
    gauges: Mutex<BTreeMap<String, Gauges>>,
}

/// Reads one counter. [`COUNTERS`] has the name and the help text of each.
type CounterOf = fn(&ConsumerCounters) -> &AtomicU64;
const COUNTERS: [(&str, &str, CounterOf); 5] = [
    ("processed", "Messages this process ran with success", |counts| &counts.processed),
    ("failed", "Attempts that failed in this process", |counts| &counts.failed),
    ("expired", "Messages this process skipped because they had expired", |counts| &counts.expired),
    ("set_aside", "Messages this process set aside for another attempt", |counts| {
        &counts.set_aside
    }),
    ("dead", "Messages whose attempt here was their last", |counts| &counts.dead),
];

/// Reads one gauge. [`GAUGES`] has the name and the help text of each.
type GaugeOf = fn(&Gauges) -> u64;
const GAUGES: [(&str, &str, GaugeOf); 3] = [
    ("pending", "Messages that wait, of all servers together", |gauges| gauges.pending),
    ("in_flight", "Messages in flight, of all servers together", |gauges| gauges.in_flight),
    ("dead_letters", "Dead letters kept", |gauges| gauges.dead_letters),
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

    /// Replaces the gauges of all consumers.
    pub(super) fn set_gauges(&self, all: BTreeMap<String, Gauges>) {
        *self.gauges.lock() = all;
    }

    /// The metrics in Prometheus's text format. Only consumers in `known` are shown; all, if it is `None`
    /// because the store did not answer.
    pub(super) fn render(&self, known: Option<&BTreeSet<String>>) -> String {
        let is_known = |name: &str| known.is_none_or(|known| known.contains(name));
        let mut text = String::new();
        let counts = self.counts.lock();
        for (metric, help, of) in COUNTERS {
            let values = counts.iter().filter(|(name, _)| is_known(name));
            let values = values.map(|(name, counts)| (name, of(counts).load(Ordering::Relaxed)));
            write_metric(&mut text, &format!("{metric}_total"), "counter", help, values);
        }
        drop(counts);
        let gauges = self.gauges.lock();
        for (metric, help, of) in GAUGES {
            let values = gauges.iter().filter(|(name, _)| is_known(name));
            let values = values.map(|(name, gauges)| (name, of(gauges)));
            write_metric(&mut text, metric, "gauge", help, values);
        }
        text
    }
}

/// Writes one metric with all its series. The names of consumers contain nothing that must be escaped.
fn write_metric<'a>(
    text: &mut String,
    metric: &str,
    kind: &str,
    help: &str,
    values: impl Iterator<Item = (&'a String, u64)>,
) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    let name = format!("agentbus_consumer_{metric}");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (consumer, value) in values {
        let _ = writeln!(text, "{name}{{consumer=\"{consumer}\"}} {value}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_has_ended_shows_no_metrics() {
        let series = ConsumerMetrics::default();
        series.begin("a").processed.fetch_add(2, Ordering::Relaxed);
        series.begin("b");
        let line = |text: &str, line: &str| text.lines().any(|shown| shown == line);
        let (a, b) = (
            "agentbus_consumer_processed_total{consumer=\"a\"} 2",
            "agentbus_consumer_processed_total{consumer=\"b\"} 0",
        );
        let all = series.render(None);
        assert!(line(&all, a) && line(&all, b), "{all}");
        assert!(line(&all, "# TYPE agentbus_consumer_processed_total counter"), "{all}");
        let one = series.render(Some(&BTreeSet::from(["a".to_owned()])));
        assert!(line(&one, a) && !one.contains("consumer=\"b\""), "{one}");
        series.end("a");
        series.end("b");
        assert_eq!(series.render(None), "");
    }
}
