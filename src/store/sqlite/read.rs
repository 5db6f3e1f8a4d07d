//! Reading history.
//!
//! Invariant: a page is exact as of the watermark it names. The watermark is read
//! first; what lies beneath it never changes, so the sequences and then the
//! bodies can be read after it, each in a snapshot of its own.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::query::Query as Statement;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Error, Row, Sqlite};
use uuid::Uuid;

use crate::limits::SQLITE_STATEMENT_IDS;
use crate::message::{Query, Token};
use crate::store::plan::{self, Bounds, Dialect, Plan, Value, from_db, to_db};
use crate::store::rows::{counts_sql, gather_counts, read_kind};
use crate::store::{Counts, Hole, HoleReason, Page, Stored};

pub(super) async fn page(pool: &SqlitePool, query: &Query) -> Result<Page, Error> {
    if plan::asks_for_all(query)
        && let Some(page) = all(pool, query).await?
    {
        return Ok(page);
    }
    let (committed_through, bounds) = bounds(pool, query).await?;
    let mut page =
        Page { messages: Vec::new(), more: false, committed_through: from_db(committed_through) };
    let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(page) };
    let Plan { sql, values, .. } = plan::rows(query, bounds, Dialect::Sqlite, "messages");
    let rows = bind_all(sqlx::query(AssertSqlSafe(sql)), values).fetch_all(pool).await?;
    let mut seqs = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    page.more = seqs.len() > query.limit;
    seqs.truncate(query.limit);
    if seqs.is_empty() {
        return Ok(page);
    }
    page.messages = bodies(pool, &seqs, query).await?;
    page.more |= page.messages.len() < seqs.len();
    Ok(page)
}

/// A page of all messages by one statement, watermark and bodies included: what a replay asks for
/// again and again. `None` when there is no message, and so no watermark beside it.
async fn all(pool: &SqlitePool, query: &Query) -> Result<Option<Page>, Error> {
    let mut rows = sqlx::query(
        "SELECT seq, kind, body, (SELECT committed_through FROM log_state) \
         FROM messages NOT INDEXED WHERE seq > $1 AND seq < $2 \
         AND seq <= (SELECT committed_through FROM log_state) ORDER BY seq",
    )
    .bind(query.after.map_or(-1, to_db))
    .bind(query.before.map_or(i64::MAX, to_db))
    .fetch(pool);
    let mut page: Option<Page> = None;
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let page = match &mut page {
            Some(page) => page,
            None => page.insert(Page {
                messages: Vec::new(),
                more: false,
                committed_through: from_db(row.try_get(3)?),
            }),
        };
        if page.messages.len() == query.limit || bytes >= query.limit_bytes {
            page.more = true;
            break;
        }
        let body: &[u8] = row.try_get(2)?;
        bytes += body.len() as u64;
        page.messages.push(Stored {
            seq: from_db(row.try_get(0)?),
            kind: read_kind(row.try_get(1)?).map_err(unreadable)?,
            body: Bytes::copy_from_slice(body),
        });
    }
    Ok(page)
}

/// The watermark, and where to look; `None` when nothing can be there.
pub(super) async fn bounds(
    pool: &SqlitePool,
    query: &Query,
) -> Result<(i64, Option<Bounds>), Error> {
    if query.since.is_none() && query.until.is_none() {
        let row = sqlx::query("SELECT committed_through FROM log_state").fetch_one(pool).await?;
        let through = row.try_get(0)?;
        return Ok((through, Some(plan::bounds(query, through))));
    }
    let row = sqlx::query(AssertSqlSafe(plan::time_bounds_sql()))
        .bind(query.since.map(|time| time.timestamp_micros()))
        .bind(query.until.map(|time| time.timestamp_micros()))
        .fetch_one(pool)
        .await?;
    let through = row.try_get(0)?;
    Ok((through, plan::bounds(query, through).narrowed(query, row.try_get(1)?, row.try_get(2)?)))
}

pub(super) fn bind_all(
    mut statement: Statement<'_, Sqlite, SqliteArguments>,
    values: Vec<Value>,
) -> Statement<'_, Sqlite, SqliteArguments> {
    for value in values {
        statement = match value {
            Value::Int(value) => statement.bind(value),
            Value::Text(value) => statement.bind(value),
            Value::Uuid(value) => statement.bind(value),
            Value::Time(value) => statement.bind(value.timestamp_micros()),
        };
    }
    statement
}

/// The bodies at these sequences, until they are too many bytes for one page.
async fn bodies(pool: &SqlitePool, seqs: &[i64], query: &Query) -> Result<Vec<Stored>, Error> {
    let order = if query.descending { "DESC" } else { "ASC" };
    let wanted = serde_json::to_string(seqs).map_err(|error| Error::Encode(error.into()))?;
    let sql = format!(
        "SELECT seq, kind, body FROM messages \
         WHERE seq IN (SELECT value FROM json_each($1)) ORDER BY seq {order}"
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(wanted).fetch(pool);
    let (mut messages, mut bytes) = (Vec::with_capacity(seqs.len()), 0);
    while bytes < query.limit_bytes
        && let Some(row) = rows.try_next().await?
    {
        let message = stored(&row)?;
        bytes += message.body.len() as u64;
        messages.push(message);
    }
    Ok(messages)
}

pub(super) fn stored(row: &SqliteRow) -> Result<Stored, Error> {
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

pub(super) async fn message(pool: &SqlitePool, seq: u64) -> Result<Option<Stored>, Error> {
    let statement = sqlx::query("SELECT seq, kind, body FROM messages WHERE seq = $1");
    statement.bind(to_db(seq)).fetch_optional(pool).await?.as_ref().map(stored).transpose()
}

/// One search of the index an id, which has the sequence too.
pub(super) async fn find(pool: &SqlitePool, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, Error> {
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(SQLITE_STATEMENT_IDS) {
        let places = vec!["?"; some.len()].join(", ");
        let sql = format!(
            "SELECT id, min(seq) FROM messages INDEXED BY messages_id \
             WHERE id IN ({places}) GROUP BY id"
        );
        let statement = sqlx::query(AssertSqlSafe(sql));
        let statement = some.iter().fold(statement, |statement, id| statement.bind(*id));
        for row in statement.fetch_all(pool).await? {
            found.insert(row.try_get(0)?, from_db(row.try_get(1)?));
        }
    }
    Ok(found)
}

pub(super) async fn holes(
    pool: &SqlitePool,
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
    pool: &SqlitePool,
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
    let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    Ok(gather_counts(rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?.into_iter()))
}
