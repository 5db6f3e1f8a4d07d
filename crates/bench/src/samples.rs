//! Recorded times or counts, kept in an HdrHistogram and reported as percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Largest recorded value: ten minutes in microseconds. Larger values are recorded as this one.
const MAX_VALUE: u64 = 600_000_000;
/// Significant decimal digits kept of each value.
const DIGITS: u8 = 3;

/// Recorded times (in microseconds) or counts.
#[derive(Clone, Debug)]
pub struct Samples(Histogram<u64>);

/// A summary of samples: times in milliseconds, counts as recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Number of samples.
    pub count: u64,
    /// The smallest value.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The largest value.
    pub max: f64,
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

impl Samples {
    /// No samples.
    #[must_use]
    pub fn new() -> Self {
        // These bounds are valid, so neither constructor fails.
        let precise = Histogram::new_with_bounds(1, MAX_VALUE, DIGITS);
        let coarse = || Histogram::new_with_max(MAX_VALUE, 1);
        Self(precise.or_else(|_| coarse()).unwrap_or_else(|_| unreachable!("the bounds are valid")))
    }

    /// Records a time.
    pub fn record_time(&mut self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Records a count.
    pub fn record(&mut self, count: u64) {
        self.0.saturating_record(count);
    }

    /// Adds all samples of another.
    pub fn merge(&mut self, other: &Self) {
        // Fails only if the bounds differ; all histograms have the same.
        let _ = self.0.add(&other.0);
    }

    /// Summary of times, in milliseconds; `None` without samples.
    #[must_use]
    pub fn millis(&self) -> Option<Summary> {
        self.summary(1_000.0)
    }

    /// Summary of counts; `None` without samples.
    #[must_use]
    pub fn counts(&self) -> Option<Summary> {
        self.summary(1.0)
    }

    /// The median time in milliseconds; `None` without samples.
    #[must_use]
    pub fn median_millis(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(0.5) as f64 / 1_000.0)
    }

    fn summary(&self, unit: f64) -> Option<Summary> {
        let all = &self.0;
        let at = |quantile| all.value_at_quantile(quantile) as f64 / unit;
        (!all.is_empty()).then(|| Summary {
            count: all.len(),
            min: all.min() as f64 / unit,
            mean: all.mean() / unit,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: all.max() as f64 / unit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_reported_in_milliseconds() {
        let mut samples = Samples::new();
        assert_eq!(samples.millis(), None);
        for millis in 1..=1_000 {
            samples.record_time(Duration::from_millis(millis));
        }
        let summary = samples.millis().expect("some");
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.002;
        assert_eq!(summary.count, 1_000);
        assert!(near(summary.p50, 500.0) && near(summary.p99, 990.0) && near(summary.max, 1_000.0));
        samples.record_time(Duration::from_secs(86_400));
        assert!(samples.millis().is_some_and(|summary| near(summary.max, 600_000.0)));
    }

    #[test]
    fn merged_samples_are_summarised_together() {
        let (mut one, mut other) = (Samples::new(), Samples::new());
        one.record(0);
        other.record(7);
        one.merge(&other);
        assert!(one.counts().is_some_and(|summary| summary.count == 2 && summary.max == 7.0));
    }
}
