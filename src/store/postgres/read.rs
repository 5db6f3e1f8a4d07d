//! Reading history.
//!
//! Invariant: a page is exact as of the watermark it names. The watermark is read
//! first; what lies beneath it never changes, so the sequences and then the
//! bodies can be read after it, each in a snapshot of its own.
//!
//! On these connections sorting counts as dear (see `connection`), so a statement
//! that must sort does so where there is no other way to run it.

use std::collections::HashMap;

use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query as Statement;
use sqlx::{AssertSqlSafe, Error, Postgres, Row};
use uuid::Uuid;

use crate::limits::MAX_PAGE_BYTES;
use crate::message::{Query, Token};
use crate::store::plan::{self, Bounds, Dialect, Plan, Value, from_db, to_db};
use crate::store::rows::{counts_sql, gather_counts, read_kind};
use crate::store::{Counts, Hole, HoleReason, Page, Stored};

pub(super) async fn page(pool: &PgPool, query: &Query) -> Result<Page, Error> {
    let (committed_through, bounds) = bounds(pool, query).await?;
    let mut page =
        Page { messages: Vec::new(), more: false, committed_through: from_db(committed_through) };
    let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(page) };
    let Plan { sql, values } = plan::keys(query, bounds, Dialect::Postgres);
    let rows = bind_all(sqlx::query(AssertSqlSafe(sql)), values).fetch_all(pool).await?;
    let mut seqs = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    page.more = seqs.len() > query.limit;
    seqs.truncate(query.limit);
    if seqs.is_empty() {
        return Ok(page);
    }
    page.messages = bodies(pool, &seqs, query.descending).await?;
    page.more |= page.messages.len() < seqs.len();
    Ok(page)
}

/// The watermark, and where to look; `None` when nothing can be there.
async fn bounds(pool: &PgPool, query: &Query) -> Result<(i64, Option<Bounds>), Error> {
    if query.since.is_none() && query.until.is_none() {
        let row = sqlx::query("SELECT committed_through FROM log_state").fetch_one(pool).await?;
        let through = row.try_get(0)?;
        return Ok((through, Some(plan::bounds(query, through))));
    }
    let row = sqlx::query(AssertSqlSafe(plan::time_bounds_sql()))
        .bind(query.since)
        .bind(query.until)
        .fetch_one(pool)
        .await?;
    let through = row.try_get(0)?;
    Ok((through, plan::bounds(query, through).narrowed(query, row.try_get(1)?, row.try_get(2)?)))
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

/// The bodies at these sequences, until they are too many bytes for one page.
async fn bodies(pool: &PgPool, seqs: &[i64], descending: bool) -> Result<Vec<Stored>, Error> {
    let order = if descending { "DESC" } else { "ASC" };
    let sql = format!(
        "WITH picked AS MATERIALIZED (SELECT seq, kind, body FROM messages WHERE seq = ANY($1)), \
         sized AS (SELECT *, sum(octet_length(body)) OVER (ORDER BY seq {order}) \
         - octet_length(body) AS before FROM picked) \
         SELECT seq, kind, body FROM sized WHERE before < $2"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(seqs)
        .bind(to_db(MAX_PAGE_BYTES))
        .fetch_all(pool)
        .await?;
    let mut messages = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    messages.sort_unstable_by_key(|message| message.seq);
    if descending {
        messages.reverse();
    }
    Ok(messages)
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

pub(super) async fn find(pool: &PgPool, ids: &[Uuid]) -> Result<HashMap<Uuid, Stored>, Error> {
    let rows = sqlx::query(
        "SELECT wanted.id, m.seq, m.kind, m.body FROM unnest($1::uuid[]) AS wanted(id) \
         CROSS JOIN LATERAL (SELECT seq, kind, body FROM messages WHERE messages.id = wanted.id \
         ORDER BY seq NULLS FIRST LIMIT 1) m",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, stored(row)?))).collect()
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

pub(super) async fn counts(pool: &PgPool, task: Option<&Token>) -> Result<Counts, Error> {
    let statement = sqlx::query(AssertSqlSafe(counts_sql(task.is_some())));
    let statement = match task {
        Some(task) => statement.bind(task.as_str()),
        None => statement,
    };
    let rows = statement.fetch_all(pool).await?;
    let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    Ok(gather_counts(rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?.into_iter()))
}
