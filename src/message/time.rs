//! Times on the wire: RFC 3339, UTC, microseconds, `Z`.

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};

/// `2026-11-20T15:57:45.123456Z`: always 27 bytes for the years 0–9999.
#[must_use]
pub fn format_micros(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Cuts a time to the precision that the wire and the store keep.
#[must_use]
pub fn truncate_to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// Parses RFC 3339 in any offset, to UTC microseconds.
///
/// # Errors
/// The rule, in words for the client.
pub fn parse_rfc3339(text: &str) -> Result<DateTime<Utc>, &'static str> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| truncate_to_micros(time.with_timezone(&Utc)))
        .map_err(|_| "must be an RFC 3339 time such as 2026-11-20T12:00:00Z")
}
