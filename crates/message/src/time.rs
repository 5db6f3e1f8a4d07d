//! Times in JSON: RFC 3339, UTC, microseconds, `Z`.

use chrono::{DateTime, Datelike as _, SecondsFormat, SubsecRound, Timelike as _, Utc};

/// Formats a time as `2026-11-20T15:57:45.123456Z`: 27 bytes for the years 0–9999.
#[must_use]
pub fn format_micros(time: DateTime<Utc>) -> String {
    let year = time.year();
    if !(0..=9_999).contains(&year) {
        return time.to_rfc3339_opts(SecondsFormat::Micros, true);
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    // A leap second is written as second 60, as chrono does.
    let nanos = time.nanosecond();
    let (leap, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    write_digits(&mut text[0..4], year.unsigned_abs());
    write_digits(&mut text[5..7], time.month());
    write_digits(&mut text[8..10], time.day());
    write_digits(&mut text[11..13], time.hour());
    write_digits(&mut text[14..16], time.minute());
    write_digits(&mut text[17..19], time.second() + leap);
    write_digits(&mut text[20..26], nanos / 1_000);
    text.iter().copied().map(char::from).collect()
}

/// Fills `digits` with the last decimal digits of a number.
fn write_digits(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

/// Truncates a time to microseconds, the precision of the JSON and of the store.
#[must_use]
pub fn truncate_to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// Parses an RFC 3339 time with any offset. Returns it in UTC, truncated to microseconds.
///
/// # Errors
/// The rule that the text breaks, as a text for the client.
pub fn parse_rfc3339(text: &str) -> Result<DateTime<Utc>, &'static str> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| truncate_to_micros(time.with_timezone(&Utc)))
        .map_err(|_| "must be an RFC 3339 time such as 2026-11-20T12:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn formats_as_chrono_does(seconds in -70_000_000_000_i64..260_000_000_000, nanos in 0_u32..2_000_000_000) {
            // chrono accepts a leap second only at the end of a minute.
            let seconds = if nanos >= 1_000_000_000 { seconds - seconds.rem_euclid(60) + 59 } else { seconds };
            let time = DateTime::from_timestamp(seconds, nanos).expect("within chrono's range");
            let expected = time.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(format_micros(time), expected);
        }
    }
}
