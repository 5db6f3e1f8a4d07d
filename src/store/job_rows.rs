//! Jobs as both stores keep them: what is not SQL.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::work::Attempt;

/// The ranks of priorities, highest first.
pub(super) const RANKS: [i16; 3] = [0, 1, 2];

/// A duration of so many microseconds; none where it is negative.
pub(super) fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A duration in microseconds.
pub(super) fn to_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The first rows whose bytes together stay within a limit; one at least.
pub(super) fn cut_by_bytes(rows: &[(i64, i64)], limit: usize) -> Vec<i64> {
    let (mut total, limit) = (0_i64, i64::try_from(limit).unwrap_or(i64::MAX));
    let fits = rows.iter().take_while(|(_, bytes)| {
        let first = total == 0;
        total += bytes;
        first || total <= limit
    });
    fits.map(|(seq, _)| *seq).collect()
}

/// Reads attempts back; what cannot be read is left out.
pub(super) fn read_attempts(json: &str) -> Vec<Attempt> {
    let rows: Vec<(u32, i64, String)> = serde_json::from_str(json).unwrap_or_default();
    rows.into_iter()
        .map(|(attempt, at, error)| Attempt {
            attempt,
            at: DateTime::from_timestamp_micros(at).unwrap_or_default(),
            error,
        })
        .collect()
}

/// Adds an attempt whose lease ran out.
pub(super) fn with_run_out(
    attempts: &mut Vec<Attempt>,
    attempt: u32,
    at: DateTime<Utc>,
    worker: Option<&str>,
) {
    let who = worker.map(|worker| format!(" (worker {worker})")).unwrap_or_default();
    attempts.push(Attempt { attempt, at, error: format!("the lease ran out{who}") });
}

/// Backoff steps as they are kept.
pub(super) fn write_steps(steps: &[Duration]) -> String {
    let steps: Vec<i64> = steps.iter().copied().map(to_micros).collect();
    serde_json::json!(steps).to_string()
}

/// Reads them back.
pub(super) fn read_steps(json: &str) -> Vec<Duration> {
    let steps: Vec<i64> = serde_json::from_str(json).unwrap_or_default();
    steps.into_iter().map(micros).collect()
}
