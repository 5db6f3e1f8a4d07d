//! Times on the command line: RFC 3339, a date, or a span such as `90s`, `15m`, `2h`, `7d`.
//!
//! Invariant: a command turns a span into a time once, so that all its requests mean the same time.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::message::{format_micros, parse_rfc3339};

/// A time, or a span before or after now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// A time in RFC 3339, as it was given; a date is its begin in UTC.
    At(String),
    /// A span; the command decides whether it lies before or after now.
    Span(TimeDelta),
}

impl When {
    /// The time in RFC 3339; a span means that long before `now`.
    #[must_use]
    pub fn before(&self, now: DateTime<Utc>) -> String {
        match self {
            Self::At(text) => text.clone(),
            Self::Span(span) => format_micros(now - *span),
        }
    }

    /// The time in RFC 3339; a span means that long after `now`.
    #[must_use]
    pub fn after(&self, now: DateTime<Utc>) -> String {
        match self {
            Self::At(text) => text.clone(),
            Self::Span(span) => format_micros(now + *span),
        }
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be RFC 3339 (2026-01-31T12:00:00Z), a date (2026-01-31) or a span (90s, 15m, 2h, 7d)";
        /// The longest span, a century, so that a sum stays within the calendar.
        const LONGEST_S: i64 = 100 * 366 * 86_400;
        if parse_rfc3339(text).is_ok() {
            return Ok(Self::At(text.to_owned()));
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Ok(Self::At(format!("{day}T00:00:00Z")));
        }
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(RULE),
        };
        let count: u32 = text[..text.len() - 1].parse().map_err(|_| RULE)?;
        let seconds = i64::from(count) * unit;
        if seconds > LONGEST_S {
            return Err("must be at most a hundred years away");
        }
        Ok(Self::Span(TimeDelta::seconds(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_spans() {
        let now = parse_rfc3339("2026-01-02T00:00:00Z").expect("a time");
        let when = |text: &str| text.parse::<When>();
        assert_eq!(when("2h").map(|w| w.before(now)), Ok("2026-01-01T22:00:00.000000Z".to_owned()));
        assert_eq!(when("90s").map(|w| w.after(now)), Ok("2026-01-02T00:01:30.000000Z".to_owned()));
        let exact = "2026-01-02T03:04:05+01:00";
        assert_eq!(when(exact).map(|w| w.before(now)), Ok(exact.to_owned()));
        assert_eq!(when("2026-01-31"), Ok(When::At("2026-01-31T00:00:00Z".to_owned())));
        for bad in
            ["", "h", "2026-02-30", "2026-1", "-2h", "2w", "2 h", "yesterday", "4294967295d", "2é"]
        {
            assert!(when(bad).is_err(), "{bad:?}");
        }
    }
}
