//! The columns of queues and jobs.

use std::time::Duration;

use crate::store::sql::{from_micros, to_micros};

/// The ranks of priorities, highest first.
pub(crate) const RANKS: [i16; 3] = [0, 1, 2];

/// The first of some rows (sequence, bytes) that together stay within a limit; at least one. Returns their
/// sequences.
pub(crate) fn cut_by_bytes(rows: &[(i64, i64)], limit: usize) -> Vec<i64> {
    let (mut total, limit) = (0_i64, i64::try_from(limit).unwrap_or(i64::MAX));
    let fits = rows.iter().take_while(|(_, bytes)| {
        let first = total == 0;
        total += bytes;
        first || total <= limit
    });
    fits.map(|(seq, _)| *seq).collect()
}

/// Encodes backoff steps as a JSON array of microseconds.
pub(super) fn encode_steps(steps: &[Duration]) -> String {
    let steps: Vec<i64> = steps.iter().copied().map(to_micros).collect();
    serde_json::json!(steps).to_string()
}

/// Decodes what [`encode_steps`] returns.
pub(super) fn decode_steps(json: &str) -> Vec<Duration> {
    let steps: Vec<i64> = serde_json::from_str(json).unwrap_or_default();
    steps.into_iter().map(from_micros).collect()
}
