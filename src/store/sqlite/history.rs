//! Reads history.
//!
//! Invariant: a page is exact as of the watermark that it names. The watermark is read first. What lies below
//! it never changes but by an erasure, so the sequences and then the bodies can be read later, each in its own snapshot.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Error, Row as _};
use uuid::Uuid;

use super::SqliteStore;
use super::connection::bounded;
use super::database::{bind_all, json};
use crate::limits::{MAX_PAGE_BYTES, SQLITE_STATEMENT_IDS};
use crate::message::Query;
use crate::store::error::StoreError;
use crate::store::history::{
    HistoryStore, InboxFront, ORIGINAL_COLUMNS, Original, Page, Stored, read_original, read_stored,
};
use crate::store::plan::{self, Bounds, Plan};
use crate::store::sql::{Dialect, from_db, limit_to_db, to_db};

#[async_trait]
impl HistoryStore for SqliteStore {
    /// Searches the index once for each id. The index holds the sequence too.
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, StoreError> {
        bounded(async {
            let mut found = HashMap::with_capacity(ids.len());
            for some in ids.chunks(SQLITE_STATEMENT_IDS) {
                let values = vec!["?"; some.len()].join(", ");
                let sql = format!(
                    "SELECT id, min(seq) FROM messages INDEXED BY messages_id \
                     WHERE id IN ({values}) GROUP BY id"
                );
                let statement = sqlx::query(AssertSqlSafe(sql));
                let statement = some.iter().fold(statement, |statement, id| statement.bind(*id));
                for row in statement.fetch_all(&self.readers).await? {
                    found.insert(row.try_get(0)?, from_db(row.try_get(1)?));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn originals(&self, from: u64, limit: usize) -> Result<Vec<Original>, StoreError> {
        bounded(async {
            let sql = format!(
                "SELECT {ORIGINAL_COLUMNS} FROM messages WHERE seq >= $1 ORDER BY seq LIMIT $2"
            );
            let statement = sqlx::query(AssertSqlSafe(sql)).bind(to_db(from));
            let mut rows = statement.bind(limit_to_db(limit)).fetch(&self.readers);
            let (mut originals, mut bytes) = (Vec::new(), 0);
            while bytes < MAX_PAGE_BYTES
                && let Some(row) = rows.try_next().await?
            {
                let original = read_original((&row).into())?;
                let foreign = original.foreign.as_ref().map_or(0, |(payload, _)| payload.len());
                bytes += (original.stored.body.len() + foreign) as u64;
                originals.push(original);
            }
            Ok(originals)
        })
        .await
    }

    async fn page_within(&self, query: &Query, scan: usize) -> Result<Page, StoreError> {
        bounded(async {
            let pool = &self.readers;
            if plan::asks_for_all(query)
                && let Some(page) = all(pool, query).await?
            {
                return Ok(page);
            }
            let (committed_through, bounds) = bounds(pool, query).await?;
            let committed_through = from_db(committed_through);
            let mut page = Page { messages: Vec::new(), next: None, committed_through };
            let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(page) };
            let plan = plan::rows(query, bounds, scan, Dialect::Sqlite, "messages");
            let seqs;
            (seqs, page.next) = match plan.tests_scope {
                true => self.scanned(&plan, query, scan).await?,
                false => self.sequences(&plan, query).await?,
            };
            if !seqs.is_empty() {
                page.messages = bodies(pool, &seqs, query).await?;
                if page.messages.len() < seqs.len() {
                    page.next = page.messages.last().map(|last| last.seq);
                }
            }
            Ok(page)
        })
        .await
    }

    async fn inbox_front(
        &self,
        query: &Query,
        now: DateTime<Utc>,
    ) -> Result<InboxFront, StoreError> {
        bounded(async {
            let (committed_through, bounds) = bounds(&self.readers, query).await?;
            let committed_through = from_db(committed_through);
            let mut front = InboxFront { committed_through, ..InboxFront::default() };
            let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(front) };
            let Plan { sql, values, tests_scope, .. } =
                plan::first_unexpired(query, bounds, now, Dialect::Sqlite, "messages");
            let statement = bind_all(sqlx::query(AssertSqlSafe(sql)), &values, &self.time);
            let row = statement.fetch_one(&self.readers).await?;
            front.add((&row).into(), query.limit, tests_scope)?;
            Ok(front)
        })
        .await
    }
}

/// The sequences of a page, and the one to continue after if there may be more.
type Sequences = (Vec<i64>, Option<u64>);

impl SqliteStore {
    /// Reads the sequences of a page.
    async fn sequences(&self, plan: &Plan, query: &Query) -> Result<Sequences, Error> {
        let statement = sqlx::query(AssertSqlSafe(&*plan.sql));
        let rows = bind_all(statement, &plan.values, &self.time).fetch_all(&self.readers).await?;
        let mut seqs = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let more = seqs.len() > query.limit;
        seqs.truncate(query.limit);
        let next = seqs.last().filter(|_| more).copied().map(from_db);
        Ok((seqs, next))
    }

    /// As [`Self::sequences`], with a plan that tests the scope on up to `scan` rows.
    async fn scanned(&self, plan: &Plan, query: &Query, scan: usize) -> Result<Sequences, Error> {
        let statement = sqlx::query(AssertSqlSafe(&*plan.sql));
        let mut rows = bind_all(statement, &plan.values, &self.time).fetch(&self.readers);
        let mut seqs: Vec<i64> = Vec::new();
        let mut next = None;
        while let Some(row) = rows.try_next().await? {
            let seq = row.try_get(0)?;
            if row.try_get(1)? && seqs.last() != Some(&seq) {
                if seqs.len() == query.limit {
                    next = seqs.last().copied();
                    break;
                }
                seqs.push(seq);
            }
            if row.try_get::<i64, _>(2)? == limit_to_db(scan) {
                next = Some(seq);
            }
        }
        Ok((seqs, next.map(from_db)))
    }
}

/// Reads a page of all messages, with watermark and bodies, by one statement, since replays do so again and
/// again. Returns `None` if there is no message, and so no row that names the watermark.
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
                next: None,
                committed_through: from_db(row.try_get(3)?),
            }),
        };
        if page.messages.len() == query.limit || bytes >= query.limit_bytes {
            page.next = page.messages.last().map(|last| last.seq);
            break;
        }
        let message = read_stored((&row).into())?;
        bytes += message.body.len() as u64;
        page.messages.push(message);
    }
    Ok(page)
}

/// The watermark, and the sequences to read; `None` if no row can match.
async fn bounds(pool: &SqlitePool, query: &Query) -> Result<(i64, Option<Bounds>), Error> {
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

/// The bodies at these sequences, until they have as many bytes as one page may have.
async fn bodies(pool: &SqlitePool, seqs: &[i64], query: &Query) -> Result<Vec<Stored>, Error> {
    let order = if query.descending { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT seq, kind, body FROM messages \
         WHERE seq IN (SELECT value FROM json_each($1)) ORDER BY seq {order}"
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(json(&seqs)?).fetch(pool);
    let (mut messages, mut bytes) = (Vec::with_capacity(seqs.len()), 0);
    while bytes < query.limit_bytes
        && let Some(row) = rows.try_next().await?
    {
        let message = read_stored((&row).into())?;
        bytes += message.body.len() as u64;
        messages.push(message);
    }
    Ok(messages)
}
