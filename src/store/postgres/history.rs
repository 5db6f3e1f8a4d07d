//! Reads history.
//!
//! Invariant: a page is exact as of the watermark that it names. The watermark is read first. What lies below
//! it never changes but by an erasure, so the other statements can read that later, each in its own snapshot.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Error, Row as _};
use uuid::Uuid;

use super::database::bind_all;
use super::page::{Range, TABLE, add, all, further, nearest, range};
use super::{PostgresStore, partitions};
use crate::limits::MAX_PAGE_BYTES;
use crate::message::Query;
use crate::store::error::StoreError;
use crate::store::history::{
    HistoryStore, InboxFront, ORIGINAL_COLUMNS, Original, Page, read_original,
};
use crate::store::plan::{self, Bounds, Plan};
use crate::store::sql::{Dialect, Pool, from_db, limit_to_db, to_db};

#[async_trait]
impl HistoryStore for PostgresStore {
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, StoreError> {
        self.run(Pool::Readers, async || {
            let rows = sqlx::query(
                "SELECT wanted.id, m.seq FROM unnest($1::uuid[]) AS wanted(id) \
                 CROSS JOIN LATERAL (SELECT seq FROM messages WHERE messages.id = wanted.id \
                 ORDER BY seq NULLS FIRST LIMIT 1) m",
            )
            .bind(ids)
            .fetch_all(&self.readers)
            .await?;
            rows.iter().map(|row| Ok((row.try_get(0)?, from_db(row.try_get(1)?)))).collect()
        })
        .await
    }

    async fn originals(&self, from: u64, limit: usize) -> Result<Vec<Original>, StoreError> {
        let sql = format!(
            "WITH picked AS MATERIALIZED (
                 SELECT {ORIGINAL_COLUMNS} FROM messages WHERE seq >= $1 ORDER BY seq LIMIT $2
             ), sized AS (
                 SELECT *, octet_length(body) + coalesce(octet_length(foreign_payload), 0) AS size
                 FROM picked
             ), summed AS (SELECT *, sum(size) OVER (ORDER BY seq) - size AS before FROM sized)
             SELECT * FROM summed WHERE before < $3 ORDER BY seq"
        );
        self.run(Pool::Readers, || {
            sqlx::query(AssertSqlSafe(&*sql))
                .bind(to_db(from))
                .bind(limit_to_db(limit))
                .bind(to_db(MAX_PAGE_BYTES))
                .try_map(|row: PgRow| read_original((&row).into()))
                .fetch_all(&self.readers)
        })
        .await
    }

    async fn page_within(&self, query: &Query, scan: usize) -> Result<Page, StoreError> {
        self.run(Pool::Readers, async || {
            let pool = &self.readers;
            if plan::asks_for_all(query)
                && let Some(page) = all(pool, query).await?
            {
                return Ok(page);
            }
            let Range { committed_through, bounds, attached } = range(pool, query).await?;
            let committed_through = from_db(committed_through);
            let mut page = Page { messages: Vec::new(), next: None, committed_through };
            let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(page) };
            let near = nearest(query, bounds);
            let table = near.partition.filter(|_| attached).map(partitions::name);
            let table = table.as_deref().unwrap_or(TABLE);
            let mut scan = scan;
            add(pool, query, near.bounds, table, &mut page, &mut scan).await?;
            if page.next.is_none() {
                for window in further(pool, query, bounds, near.bounds).await? {
                    add(pool, query, window, TABLE, &mut page, &mut scan).await?;
                    if page.next.is_some() {
                        break;
                    }
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
        self.run(Pool::Readers, async || {
            let pool = &self.readers;
            let Range { committed_through, bounds, attached } = range(pool, query).await?;
            let committed_through = from_db(committed_through);
            let mut front = InboxFront { committed_through, ..InboxFront::default() };
            let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(front) };
            let near = nearest(query, bounds);
            let table = near.partition.filter(|_| attached).map(partitions::name);
            let table = table.as_deref().unwrap_or(TABLE);
            self.add_to_front(query, now, near.bounds, table, &mut front).await?;
            if front.first.is_none() && !front.more {
                for window in further(pool, query, bounds, near.bounds).await? {
                    self.add_to_front(query, now, window, TABLE, &mut front).await?;
                    if front.first.is_some() || front.more {
                        break;
                    }
                }
            }
            Ok(front)
        })
        .await
    }
}

impl PostgresStore {
    /// Reads a further window, up to the rest of the query's limit.
    async fn add_to_front(
        &self,
        query: &Query,
        now: DateTime<Utc>,
        window: Bounds,
        table: &str,
        front: &mut InboxFront,
    ) -> Result<(), Error> {
        // Everything that was read so far is passed over.
        let read = usize::try_from(front.passed).unwrap_or(usize::MAX);
        let rest = Query { limit: query.limit.saturating_sub(read), ..query.clone() };
        let Plan { sql, values, tests_scope, .. } =
            plan::first_unexpired(&rest, window, now, Dialect::Postgres, table);
        let statement = bind_all(sqlx::query(AssertSqlSafe(sql)), &values);
        let row = statement.fetch_one(&self.readers).await?;
        front.add((&row).into(), query.limit, tests_scope)
    }
}
