//! What metrics tell of each consumer, for as long as it is there.
//!
//! Invariant: nothing is told of a consumer that the store no longer has, and nothing is kept of
//! one that no longer runs here. The recorder of all other metrics forgets no series, so these are
//! not left to it: webhooks come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::{ConsumerStatus, Processor};
use crate::limits::HEALTH_WAIT;

/// What one consumer did in this process.
#[derive(Debug, Default)]
pub(super) struct ConsumerCounters {
    pub processed: AtomicU64,
    pub failed: AtomicU64,
    pub expired: AtomicU64,
    pub set_aside: AtomicU64,
    pub dead: AtomicU64,
}

/// How one consumer was when it was last asked for.
#[derive(Clone, Copy, Debug)]
struct Gauges {
    pending: u64,
    in_flight: u64,
    dead_letters: u64,
}

/// The consumers that run here, and how all of them were.
#[derive(Debug, Default)]
pub(super) struct ConsumerMetrics {
    counts: Mutex<BTreeMap<String, Arc<ConsumerCounters>>>,
    gauges: Mutex<BTreeMap<String, Gauges>>,
}

/// The counters: name, what it tells, where it is.
type CounterOf = fn(&ConsumerCounters) -> &AtomicU64;
const COUNTERS: [(&str, &str, CounterOf); 5] = [
    ("processed", "Messages this process ran with success", |counts| &counts.processed),
    ("failed", "Attempts that failed in this process", |counts| &counts.failed),
    ("expired", "Messages this process skipped since they had expired", |counts| &counts.expired),
    ("set_aside", "Messages this process set aside for another attempt", |counts| {
        &counts.set_aside
    }),
    ("dead", "Messages whose attempt here was their last", |counts| &counts.dead),
];

/// The gauges: name, what it tells, its value.
type GaugeOf = fn(&Gauges) -> u64;
const GAUGES: [(&str, &str, GaugeOf); 3] = [
    ("pending", "Messages that wait, of all servers together", |gauges| gauges.pending),
    ("in_flight", "Messages at work, of all servers together", |gauges| gauges.in_flight),
    ("dead_letters", "Dead letters kept", |gauges| gauges.dead_letters),
];

impl ConsumerMetrics {
    /// The counts of a consumer that begins to run here.
    pub(super) fn begin(&self, consumer: &str) -> Arc<ConsumerCounters> {
        Arc::clone(self.counts().entry(consumer.to_owned()).or_default())
    }

    /// It runs here no more.
    pub(super) fn end(&self, consumer: &str) {
        self.counts().remove(consumer);
    }

    fn keep(&self, all: &[ConsumerStatus]) {
        let gauges = |status: &ConsumerStatus| Gauges {
            pending: status.pending,
            in_flight: status.in_flight,
            dead_letters: status.dead_letters,
        };
        *self.gauges() =
            all.iter().map(|status| (status.consumer.name.clone(), gauges(status))).collect();
    }

    /// Prometheus's text, of these consumers alone if they are known.
    fn render(&self, known: Option<&BTreeSet<String>>) -> String {
        let is_known = |name: &str| known.is_none_or(|known| known.contains(name));
        let mut text = String::new();
        let counts = self.counts();
        for (metric, help, of) in COUNTERS {
            let values = counts.iter().filter(|(name, _)| is_known(name));
            let values = values.map(|(name, counts)| (name, of(counts).load(Ordering::Relaxed)));
            write_metric(&mut text, &format!("{metric}_total"), "counter", help, values);
        }
        drop(counts);
        let gauges = self.gauges();
        for (metric, help, of) in GAUGES {
            let values = gauges.iter().filter(|(name, _)| is_known(name));
            let values = values.map(|(name, gauges)| (name, of(gauges)));
            write_metric(&mut text, metric, "gauge", help, values);
        }
        text
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ConsumerCounters>>> {
        self.counts.lock()
    }

    fn gauges(&self) -> MutexGuard<'_, BTreeMap<String, Gauges>> {
        self.gauges.lock()
    }
}

impl Processor {
    /// The metrics of consumers, in Prometheus's text format. While store or bus do not answer
    /// gauges stay as they were.
    pub async fn render_metrics(&self) -> String {
        let asked = tokio::time::timeout(HEALTH_WAIT, self.store.consumers()).await;
        let known = match asked {
            Ok(Ok(all)) => {
                Some(all.into_iter().map(|consumer| consumer.name).collect::<BTreeSet<_>>())
            }
            Ok(Err(_)) | Err(_) => None,
        };
        if known.is_some()
            && let Ok(Ok(all)) = tokio::time::timeout(HEALTH_WAIT, self.consumers()).await
        {
            self.metrics.keep(&all);
        }
        self.metrics.render(known.as_ref())
    }
}

/// One metric and its series. Names of consumers hold nothing that must be escaped.
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
    fn a_consumer_that_is_gone_is_not_told_of() {
        let series = ConsumerMetrics::default();
        series.begin("a").processed.fetch_add(2, Ordering::Relaxed);
        series.begin("b");
        let line = |text: &str, line: &str| text.lines().any(|told| told == line);
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
