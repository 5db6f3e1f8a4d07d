//! The range of sequences that can match a query, by its bounds and its times.

use super::overlap::is_disjoint;
use crate::limits::{TIME_INDEX_SEQS, TIME_INDEX_WIDE_SEQS};
use crate::message::Query;
use crate::store::sql::to_db;

/// Exclusive bounds of the sequences to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Sequences to read are above this.
    pub after: i64,
    /// Sequences to read are below this.
    pub before: i64,
}

/// The bounds that a query sets by sequence, up to a watermark. A scope without rows leaves no sequence to read.
#[must_use]
pub fn bounds(query: &Query, committed_through: i64) -> Bounds {
    let after = query.after.map_or(-1, to_db);
    if query.filter.scope.as_ref().is_some_and(|scope| is_disjoint(scope, &query.filter)) {
        return Bounds { after, before: after };
    }
    let before = query.before.map_or(i64::MAX, to_db);
    Bounds { after, before: before.min(committed_through.saturating_add(1)) }
}

impl Bounds {
    /// Narrows the bounds to the buckets of the time index that can hold the query's times, from `first` to
    /// `last`. Returns `None` if no bucket can.
    #[must_use]
    pub fn narrowed(self, query: &Query, first: Option<i64>, last: Option<i64>) -> Option<Self> {
        let width = to_db(TIME_INDEX_SEQS);
        let mut bounds = self;
        if query.since.is_some() {
            bounds.after = bounds.after.max(first?.saturating_mul(width) - 1);
        }
        if query.until.is_some() {
            bounds.before = bounds.before.min((last? + 1).saturating_mul(width));
        }
        Some(bounds)
    }

    /// Whether the bounds leave no sequence to read.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.after.saturating_add(1) >= self.before
    }
}

/// The statement that selects the watermark, the first bucket of the time index that can hold times from `$1`
/// on, and the last bucket that can hold times up to `$2`.
#[must_use]
pub fn time_bounds_sql() -> String {
    let ratio = TIME_INDEX_WIDE_SEQS / TIME_INDEX_SEQS;
    let end = |pick: &str, test: &str| {
        let wide = format!(
            "(SELECT {pick}(bucket) FROM time_index WHERE width = {TIME_INDEX_WIDE_SEQS} AND {test})"
        );
        format!(
            "(SELECT {pick}(bucket) FROM time_index WHERE width = {TIME_INDEX_SEQS} AND {test} \
             AND bucket >= {wide} * {ratio} AND bucket < ({wide} + 1) * {ratio})"
        )
    };
    let (first, last) = (end("min", "max_created >= $1"), end("max", "min_created <= $2"));
    format!("SELECT committed_through, {first} AS first, {last} AS last FROM log_state")
}
