//! The statements of one page of history, each for a few partitions.
//!
//! On these connections sorting has a high cost (see `connection`), so a statement sorts only if there is no
//! other way to run it.

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Error, Row};

use super::database::bind_all;
use super::partitions;
use crate::limits::{
    NEAREST_SEQS, NEXT_WINDOW_PARTITIONS, PARTITION_SEQS, TIME_INDEX_WIDE_SEQS, WINDOW_PARTITIONS,
};
use crate::message::Query;
use crate::store::history::{Page, read_stored};
use crate::store::plan::{self, Bounds, Plan};
use crate::store::sql::{Dialect, from_db, limit_to_db, to_db};

/// The table of all partitions.
pub(super) const TABLE: &str = "messages";

/// Reads a page of all messages, with watermark and bodies, by one statement, since replays do so again and
/// again. Reads no further than the next partition. Returns `None` if the page is empty or may go on beyond.
pub(super) async fn all(pool: &PgPool, query: &Query) -> Result<Option<Page>, Error> {
    let (after, width) = (query.after.map_or(-1, to_db), to_db(PARTITION_SEQS));
    let wanted = query.before.map_or(i64::MAX, to_db);
    let next_but_one = (after.saturating_add(1) / width).saturating_add(2).saturating_mul(width);
    let before = wanted.min(next_but_one);
    // A subquery, so that the watermark is read once for all rows.
    let watermark = "(SELECT committed_through FROM log_state)";
    let picked = format!(
        "SELECT seq, kind, body FROM {TABLE} WHERE seq > $1 AND seq < $2 AND seq <= {watermark} \
         ORDER BY seq LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(capped(&picked, "seq", 4, &format!(", {watermark}"))))
        .bind(after)
        .bind(before)
        .bind(limit_to_db(query.limit).saturating_add(1))
        .bind(to_db(query.limit_bytes))
        .fetch_all(pool)
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let through: i64 = first.try_get(3)?;
    let committed_through = from_db(through);
    let mut page = Page { messages: Vec::with_capacity(rows.len()), next: None, committed_through };
    take(&rows, query, &mut page)?;
    let complete = page.next.is_some() || through.saturating_add(1).min(wanted) <= before;
    Ok(complete.then_some(page))
}

/// The range of a page.
pub(super) struct Range {
    pub committed_through: i64,
    /// The sequences to read; `None` if no row can match.
    pub bounds: Option<Bounds>,
    /// Whether the partition that the page begins in is known to exist.
    pub attached: bool,
}

pub(super) async fn range(pool: &PgPool, query: &Query) -> Result<Range, Error> {
    if query.since.is_none() && query.until.is_none() {
        let sql = format!(
            "SELECT committed_through, EXISTS (SELECT FROM pg_inherits \
             WHERE inhparent = 'messages'::regclass AND inhrelid = to_regclass('{}' \
             || least($1, committed_through) / {PARTITION_SEQS})) FROM log_state",
            partitions::name("")
        );
        let first = match query.descending {
            true => query.before.map_or(i64::MAX, to_db) - 1,
            false => query.after.map_or(-1, to_db).saturating_add(1),
        };
        let row = sqlx::query(AssertSqlSafe(sql)).bind(first).fetch_one(pool).await?;
        let committed_through = row.try_get(0)?;
        let bounds = Some(plan::bounds(query, committed_through));
        return Ok(Range { committed_through, bounds, attached: row.try_get(1)? });
    }
    let row = sqlx::query(AssertSqlSafe(plan::time_bounds_sql()))
        .bind(query.since)
        .bind(query.until)
        .fetch_one(pool)
        .await?;
    let committed_through = row.try_get(0)?;
    let bounds = plan::bounds(query, committed_through);
    let bounds = bounds.narrowed(query, row.try_get(1)?, row.try_get(2)?);
    Ok(Range { committed_through, bounds, attached: false })
}

/// Adds the messages of a window to the page until it has as many messages or bytes as it may have, or has read as
/// many rows as `scan`, of which it subtracts those that it read. Sets `next` if any are left then.
pub(super) async fn add(
    pool: &PgPool,
    query: &Query,
    window: Bounds,
    table: &str,
    page: &mut Page,
    scan: &mut usize,
) -> Result<(), Error> {
    let bytes: u64 = page.messages.iter().map(|message| message.body.len() as u64).sum();
    let rest = Query {
        limit: query.limit - page.messages.len(),
        limit_bytes: query.limit_bytes.saturating_sub(bytes),
        ..query.clone()
    };
    let Plan { sql, values, tests_scope, .. } = statement(&rest, window, *scan, table);
    let rows = bind_all(sqlx::query(AssertSqlSafe(sql)), &values).fetch_all(pool).await?;
    if tests_scope { take_scanned(&rows, query, page, scan) } else { take(&rows, query, page) }
}

/// Adds rows (sequence, kind, body) to the page up to the first that has no body or exceeds the limit.
fn take(rows: &[PgRow], query: &Query, page: &mut Page) -> Result<(), Error> {
    for row in rows {
        if !push(row, query, page)? {
            break;
        }
    }
    Ok(())
}

/// As [`take`], with rows of a statement that tests the scope.
fn take_scanned(
    rows: &[PgRow],
    query: &Query,
    page: &mut Page,
    scan: &mut usize,
) -> Result<(), Error> {
    for row in rows {
        if row.try_get("mine")? && !push(row, query, page)? {
            return Ok(());
        }
        if row.try_get("last")? {
            let looked = usize::try_from(row.try_get::<i64, _>("looked")?).unwrap_or(usize::MAX);
            *scan = scan.saturating_sub(looked);
            if *scan == 0 {
                page.next = Some(from_db(row.try_get(0)?));
            }
        }
    }
    Ok(())
}

/// Adds a row to the page, unless it has no body or the page is full. Then the page ends before it.
fn push(row: &PgRow, query: &Query, page: &mut Page) -> Result<bool, Error> {
    let body: Option<&[u8]> = row.try_get(2)?;
    if body.is_none() || page.messages.len() >= query.limit {
        page.next = page.messages.last().map(|last| last.seq);
        return Ok(false);
    }
    page.messages.push(read_stored(row.into())?);
    Ok(true)
}

/// The statement for a table's rows in a window: those of the page, and one more. If it tests the scope, it reads at
/// most `scan` rows, and has the further columns of [`plan::rows`].
pub(super) fn statement(query: &Query, window: Bounds, scan: usize, table: &str) -> Plan {
    let mut plan = plan::rows(query, window, scan, Dialect::Postgres, table);
    plan.values.push(to_db(query.limit_bytes).into());
    let also = if plan.tests_scope { ", mine, looked, last" } else { "" };
    plan.sql = capped(&plan.sql, plan.order, plan.values.len(), also);
    plan
}

/// Wraps the statement `rows` (sequence, kind, body), ordered by `order`, so that bodies are null once those
/// before them have as many bytes as the value number `cap`. `also` adds columns at the end.
fn capped(rows: &str, order: &str, cap: usize, also: &str) -> String {
    format!(
        "SELECT seq, kind, CASE WHEN before < ${cap} THEN body END AS body{also} FROM (SELECT *, \
         sum(octet_length(body)) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) \
         - octet_length(body) AS before FROM ({rows}) picked) sized ORDER BY {order}"
    )
}

/// The part of a range that lies within the partitions `low` to `high`.
fn within(bounds: Bounds, low: i64, high: i64) -> Bounds {
    let width = to_db(PARTITION_SEQS);
    Bounds {
        after: bounds.after.max(low * width - 1),
        before: bounds.before.min((high + 1) * width),
    }
}

/// The part of a page's range that is read first.
pub(super) struct Near {
    pub bounds: Bounds,
    /// The partition, if it is only one. PostgreSQL plans a statement that names a partition once for any
    /// sequences, but one that names the whole table each time, to see which partitions it needs.
    pub partition: Option<i64>,
}

/// The part of the range within the partition that the page begins in, and also within the next one if the
/// first has few sequences left. PostgreSQL plans and locks, with all its indices, each partition that a
/// statement may touch, and most pages are full after one. So the cost of a page does not grow with the
/// number of partitions.
pub(super) fn nearest(query: &Query, bounds: Bounds) -> Near {
    let near = to_db(NEAREST_SEQS);
    let index = |seq: i64| seq.max(0) / to_db(PARTITION_SEQS);
    let (low, high) = match query.descending {
        true => (index((bounds.before - 1 - near).max(bounds.after + 1)), index(bounds.before - 1)),
        false => (index(bounds.after + 1), index((bounds.after + 1 + near).min(bounds.before - 1))),
    };
    Near { bounds: within(bounds, low, high), partition: (low == high).then_some(low) }
}

/// The rest of the range, as windows of several partitions in the order of the page. Each window begins and
/// ends with a partition that has rows.
pub(super) async fn further(
    pool: &PgPool,
    query: &Query,
    bounds: Bounds,
    near: Bounds,
) -> Result<Vec<Bounds>, Error> {
    const { assert!(PARTITION_SEQS == TIME_INDEX_WIDE_SEQS, "a wide row is a partition") };
    let rest = match query.descending {
        true => Bounds { before: near.after + 1, ..bounds },
        false => Bounds { after: near.before - 1, ..bounds },
    };
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let width = to_db(PARTITION_SEQS);
    let mut buckets: Vec<i64> = sqlx::query_scalar(
        "SELECT bucket FROM time_index WHERE width = $1 AND bucket BETWEEN $2 AND $3 \
         ORDER BY bucket",
    )
    .bind(width)
    .bind((rest.after + 1) / width)
    .bind((rest.before - 1) / width)
    .fetch_all(pool)
    .await?;
    if query.descending {
        buckets.reverse();
    }
    let (next, far) = buckets.split_at(buckets.len().min(NEXT_WINDOW_PARTITIONS));
    let window =
        |buckets: &[i64]| Some(within(rest, *buckets.iter().min()?, *buckets.iter().max()?));
    Ok(std::iter::once(next).chain(far.chunks(WINDOW_PARTITIONS)).filter_map(window).collect())
}
