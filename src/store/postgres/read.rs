//! Reading history.
//!
//! Invariant: a page is exact as of the watermark it names. The watermark is read
//! first; what lies beneath it never changes, so what follows can be read after it,
//! each statement in a snapshot of its own.
//!
//! On these connections sorting counts as dear (see `connection`), so a statement
//! that must sort does so where there is no other way to run it.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query as Statement;
use sqlx::{AssertSqlSafe, Error, Postgres, Row};
use uuid::Uuid;

use super::partitions;
use crate::limits::{
    NEAREST_SEQS, NEXT_WINDOW_PARTITIONS, PARTITION_SEQS, TIME_INDEX_WIDE_SEQS, WINDOW_PARTITIONS,
};
use crate::message::{Query, Token};
use crate::store::plan::{self, Bounds, Dialect, Plan, Value, from_db, to_db};
use crate::store::rows::{counts_sql, gather_counts, read_kind};
use crate::store::{Counts, Hole, HoleReason, Page, Stored};

/// All partitions.
pub(super) const TABLE: &str = "messages";

pub(super) async fn page(pool: &PgPool, query: &Query) -> Result<Page, Error> {
    if plan::asks_for_all(query)
        && let Some(page) = all(pool, query).await?
    {
        return Ok(page);
    }
    let Ground { committed_through, bounds, attached } = ground(pool, query).await?;
    let mut page =
        Page { messages: Vec::new(), more: false, committed_through: from_db(committed_through) };
    let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(page) };
    let near = nearest(query, bounds);
    let table = near.partition.filter(|_| attached).map(partitions::name);
    add(pool, query, near.bounds, table.as_deref().unwrap_or(TABLE), &mut page).await?;
    if !page.more {
        for window in further(pool, query, bounds, near.bounds).await? {
            add(pool, query, window, TABLE, &mut page).await?;
            if page.more {
                break;
            }
        }
    }
    Ok(page)
}

/// A page of all messages by one statement, watermark and bodies included: what a replay asks for
/// again and again. It looks no further than the next partition; `None` when that does not tell all.
async fn all(pool: &PgPool, query: &Query) -> Result<Option<Page>, Error> {
    let (after, width) = (query.after.map_or(-1, to_db), to_db(PARTITION_SEQS));
    let wanted = query.before.map_or(i64::MAX, to_db);
    let next_but_one = (after.saturating_add(1) / width).saturating_add(2).saturating_mul(width);
    let before = wanted.min(next_but_one);
    // The watermark once for all rows.
    let watermark = "(SELECT committed_through FROM log_state)";
    let picked = format!(
        "SELECT seq, kind, body FROM {TABLE} WHERE seq > $1 AND seq < $2 AND seq <= {watermark} \
         ORDER BY seq LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(capped(&picked, "seq", 4, &format!(", {watermark}"))))
        .bind(after)
        .bind(before)
        .bind(i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1))
        .bind(to_db(query.limit_bytes))
        .fetch_all(pool)
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let through: i64 = first.try_get(3)?;
    let committed_through = from_db(through);
    let mut page =
        Page { messages: Vec::with_capacity(rows.len()), more: false, committed_through };
    take(&rows, query, &mut page)?;
    let complete = page.more || through.saturating_add(1).min(wanted) <= before;
    Ok(complete.then_some(page))
}

/// What a page is read on.
pub(super) struct Ground {
    pub committed_through: i64,
    /// Where to look; `None` when nothing can be there.
    pub bounds: Option<Bounds>,
    /// Whether the partition that the page begins in is known to be there.
    pub attached: bool,
}

pub(super) async fn ground(pool: &PgPool, query: &Query) -> Result<Ground, Error> {
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
        return Ok(Ground { committed_through, bounds, attached: row.try_get(1)? });
    }
    let row = sqlx::query(AssertSqlSafe(plan::time_bounds_sql()))
        .bind(query.since)
        .bind(query.until)
        .fetch_one(pool)
        .await?;
    let committed_through = row.try_get(0)?;
    let bounds = plan::bounds(query, committed_through);
    let bounds = bounds.narrowed(query, row.try_get(1)?, row.try_get(2)?);
    Ok(Ground { committed_through, bounds, attached: false })
}

/// Adds to the page what of it lies within a window, until it has as many messages or bytes as
/// it may; `more` is whether anything is left then.
async fn add(
    pool: &PgPool,
    query: &Query,
    window: Bounds,
    table: &str,
    page: &mut Page,
) -> Result<(), Error> {
    let bytes: u64 = page.messages.iter().map(|message| message.body.len() as u64).sum();
    let rest = Query {
        limit: query.limit - page.messages.len(),
        limit_bytes: query.limit_bytes.saturating_sub(bytes),
        ..query.clone()
    };
    let Plan { sql, values, .. } = statement(&rest, window, table);
    let rows = bind_all(sqlx::query(AssertSqlSafe(sql)), values).fetch_all(pool).await?;
    take(&rows, query, page)
}

/// Adds rows (sequence, kind, body) to the page until one has no body or is one too many.
fn take(rows: &[PgRow], query: &Query, page: &mut Page) -> Result<(), Error> {
    for row in rows {
        let body: Option<&[u8]> = row.try_get(2)?;
        let Some(body) = body.filter(|_| page.messages.len() < query.limit) else {
            page.more = true;
            break;
        };
        page.messages.push(Stored {
            seq: from_db(row.try_get(0)?),
            kind: read_kind(row.try_get(1)?).map_err(unreadable)?,
            body: Bytes::copy_from_slice(body),
        });
    }
    Ok(())
}

/// The statement that answers a table's rows of a window, and one more if there are more.
pub(super) fn statement(query: &Query, window: Bounds, table: &str) -> Plan {
    let Plan { sql, mut values, order } = plan::rows(query, window, Dialect::Postgres, table);
    values.push(Value::Int(to_db(query.limit_bytes)));
    Plan { sql: capped(&sql, order, values.len(), ""), values, order }
}

/// Of rows (sequence, kind, body) in this order, bodies until they are as many bytes as the value
/// at this place says, then null; and behind them what is asked for also.
fn capped(rows: &str, order: &str, place: usize, also: &str) -> String {
    format!(
        "SELECT seq, kind, CASE WHEN before < ${place} THEN body END{also} FROM (SELECT *, \
         sum(octet_length(body)) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) \
         - octet_length(body) AS before FROM ({rows}) picked) sized ORDER BY {order}"
    )
}

/// The part of a range that lies within these partitions.
fn within(bounds: Bounds, low: i64, high: i64) -> Bounds {
    let width = to_db(PARTITION_SEQS);
    Bounds {
        after: bounds.after.max(low * width - 1),
        before: bounds.before.min((high + 1) * width),
    }
}

/// Where a page is looked for first.
pub(super) struct Near {
    pub bounds: Bounds,
    /// The partition, if it is one alone. A statement that names it is planned once for any
    /// sequences; one that names the whole table is planned each time, to see which parts it needs.
    pub partition: Option<i64>,
}

/// The part of the range within the partition that the page begins in, and within the one after
/// it where too little is left of the first: PostgreSQL plans, and locks with all its indices,
/// each partition that a statement may touch, and most pages are full after one. So a page costs
/// the same however many there are.
pub(super) fn nearest(query: &Query, bounds: Bounds) -> Near {
    let near = to_db(NEAREST_SEQS);
    let index = |seq: i64| seq.max(0) / to_db(PARTITION_SEQS);
    let (low, high) = match query.descending {
        true => (index((bounds.before - 1 - near).max(bounds.after + 1)), index(bounds.before - 1)),
        false => (index(bounds.after + 1), index((bounds.after + 1 + near).min(bounds.before - 1))),
    };
    Near { bounds: within(bounds, low, high), partition: (low == high).then_some(low) }
}

/// The rest of the range, cut at partitions, in the order of the page. Where no row is there
/// is no window.
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
    let mut held: Vec<i64> = sqlx::query_scalar(
        "SELECT bucket FROM time_index WHERE width = $1 AND bucket BETWEEN $2 AND $3 \
         ORDER BY bucket",
    )
    .bind(width)
    .bind((rest.after + 1) / width)
    .bind((rest.before - 1) / width)
    .fetch_all(pool)
    .await?;
    if query.descending {
        held.reverse();
    }
    let (next, far) = held.split_at(held.len().min(NEXT_WINDOW_PARTITIONS));
    let window = |held: &[i64]| Some(within(rest, *held.iter().min()?, *held.iter().max()?));
    Ok(std::iter::once(next).chain(far.chunks(WINDOW_PARTITIONS)).filter_map(window).collect())
}

pub(super) fn bind_all(
    mut statement: Statement<'_, Postgres, PgArguments>,
    values: Vec<Value>,
) -> Statement<'_, Postgres, PgArguments> {
    for value in values {
        statement = match value {
            Value::Int(value) => statement.bind(value),
            Value::Text(value) => statement.bind(value),
            Value::Uuid(value) => statement.bind(value),
            Value::Time(value) => statement.bind(value),
        };
    }
    statement
}

pub(super) fn stored(row: &PgRow) -> Result<Stored, Error> {
    let kind: &str = row.try_get("kind")?;
    Ok(Stored {
        seq: from_db(row.try_get("seq")?),
        kind: read_kind(kind).map_err(unreadable)?,
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
    })
}

/// A row that this program did not write.
pub(super) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Decode(error.into())
}

pub(super) async fn message(pool: &PgPool, seq: u64) -> Result<Option<Stored>, Error> {
    let statement = sqlx::query("SELECT seq, kind, body FROM messages WHERE seq = $1");
    statement.bind(to_db(seq)).fetch_optional(pool).await?.as_ref().map(stored).transpose()
}

pub(super) async fn find(pool: &PgPool, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, Error> {
    let rows = sqlx::query(
        "SELECT wanted.id, m.seq FROM unnest($1::uuid[]) AS wanted(id) \
         CROSS JOIN LATERAL (SELECT seq FROM messages WHERE messages.id = wanted.id \
         ORDER BY seq NULLS FIRST LIMIT 1) m",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, from_db(row.try_get(1)?)))).collect()
}

pub(super) async fn holes(
    pool: &PgPool,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<Vec<Hole>, Error> {
    // Holes do not overlap: of those that begin before the range only the
    // last can reach into it.
    let rows = sqlx::query(
        "SELECT from_seq, to_seq, reason FROM holes \
         WHERE from_seq >= coalesce((SELECT max(from_seq) FROM holes WHERE from_seq <= $1), $1) \
         AND from_seq <= $2 AND to_seq >= $1 ORDER BY from_seq LIMIT $3",
    )
    .bind(to_db(from))
    .bind(to_db(to))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Hole {
                from: from_db(row.try_get("from_seq")?),
                to: from_db(row.try_get("to_seq")?),
                reason: HoleReason::from_name(row.try_get("reason")?),
            })
        })
        .collect()
}

pub(super) async fn counts(
    pool: &PgPool,
    task: Option<&Token>,
    most: usize,
) -> Result<Counts, Error> {
    let statement = sqlx::query(AssertSqlSafe(counts_sql(task.is_some())));
    let statement = statement.bind(i64::try_from(most).unwrap_or(i64::MAX));
    let statement = match task {
        Some(task) => statement.bind(task.as_str()),
        None => statement,
    };
    let rows = statement.fetch_all(pool).await?;
    let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    Ok(gather_counts(rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?.into_iter()))
}
