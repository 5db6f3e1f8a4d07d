//! Many times, kept as an HdrHistogram, told as a handful.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is told apart, in microseconds: ten minutes; what is longer counts as that.
const LONGEST_MICROS: u64 = 600_000_000;
/// Digits that are kept of each.
const DIGITS: u8 = 3;

/// Times or numbers as they are measured.
#[derive(Clone, Debug)]
pub struct Figures(Histogram<u64>);

/// What is told of them. The unit is that of what was counted: milliseconds for times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many there were.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// Half were at most this.
    pub p50: f64,
    /// So were nine of ten.
    pub p90: f64,
    /// 95 of a hundred.
    pub p95: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// 999 of a thousand.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

impl Default for Figures {
    fn default() -> Self {
        Self::new()
    }
}

impl Figures {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        // Cannot fail with these bounds; one that resizes holds the same.
        let fixed = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS);
        let any = || Histogram::new_with_max(LONGEST_MICROS, 1);
        Self(fixed.or_else(|_| any()).unwrap_or_else(|_| unreachable!("sound bounds")))
    }

    /// Adds a time.
    pub fn time(&mut self, time: Duration) {
        self.number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.0.saturating_record(number);
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        // Fails only where bounds differ: all are made alike.
        let _ = self.0.add(&other.0);
    }

    /// Times, in milliseconds; `None` when there are none.
    #[must_use]
    pub fn millis(&self) -> Option<Spread> {
        self.told(1_000.0)
    }

    /// Numbers as they are; `None` when there are none.
    #[must_use]
    pub fn numbers(&self) -> Option<Spread> {
        self.told(1.0)
    }

    /// Up to which time half are, in milliseconds.
    #[must_use]
    pub fn median_millis(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(0.5) as f64 / 1_000.0)
    }

    fn told(&self, unit: f64) -> Option<Spread> {
        let all = &self.0;
        let at = |quantile| all.value_at_quantile(quantile) as f64 / unit;
        (!all.is_empty()).then(|| Spread {
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
    fn times_are_told_in_milliseconds() {
        let mut figures = Figures::new();
        assert_eq!(figures.millis(), None);
        for millis in 1..=1_000 {
            figures.time(Duration::from_millis(millis));
        }
        let told = figures.millis().expect("some");
        let near = |told: f64, wanted: f64| (told / wanted - 1.0).abs() < 0.002;
        assert_eq!(told.count, 1_000);
        assert!(near(told.p50, 500.0) && near(told.p99, 990.0) && near(told.max, 1_000.0));
        figures.time(Duration::from_secs(86_400));
        assert!(figures.millis().is_some_and(|told| near(told.max, 600_000.0)));
    }

    #[test]
    fn two_are_added() {
        let (mut one, mut other) = (Figures::new(), Figures::new());
        one.number(0);
        other.number(7);
        one.add(&other);
        assert!(one.numbers().is_some_and(|told| told.count == 2 && told.max == 7.0));
    }
}
