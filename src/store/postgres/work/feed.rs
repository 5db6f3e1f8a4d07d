//! What is fed from the store, by one process at a time.
//!
//! Invariant: a feed's progress is written only by who claimed it last, at the
//! generation it was claimed at.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Error, Row};
use uuid::Uuid;

use crate::store::plan::{from_db, to_db};
use crate::store::postgres::lease::interval;
use crate::store::work::Feed;

/// A feed as its columns take it.
pub(super) struct Columns {
    pub floor: Option<i64>,
    pub top: Option<i64>,
    pub to: Option<i64>,
    pub done: Vec<i64>,
}

impl Columns {
    pub fn of(feed: Option<&Feed>) -> Self {
        Self {
            floor: feed.map(|feed| to_db(feed.floor)),
            top: feed.map(|feed| to_db(feed.top)),
            to: feed.and_then(|feed| feed.to).map(to_db),
            done: feed
                .map(|feed| feed.done.iter().copied().map(to_db).collect())
                .unwrap_or_default(),
        }
    }
}

/// The feed of a consumer's row.
pub(super) fn of(row: &PgRow) -> Result<Option<Feed>, Error> {
    let (floor, top): (Option<i64>, Option<i64>) =
        (row.try_get("feed_floor")?, row.try_get("feed_top")?);
    let (Some(floor), Some(top)) = (floor, top) else { return Ok(None) };
    let done: Vec<i64> = row.try_get("feed_done")?;
    Ok(Some(Feed {
        floor: from_db(floor),
        top: from_db(top),
        to: row.try_get::<Option<i64>, _>("feed_to")?.map(from_db),
        done: done.into_iter().map(from_db).collect(),
    }))
}

pub(super) async fn claim(
    pool: &PgPool,
    name: &str,
    generation: i64,
    owner: Uuid,
    lease_for: Duration,
) -> Result<Option<Feed>, Error> {
    let row = sqlx::query(
        "UPDATE consumers SET feed_owner = $3, feed_until = clock_timestamp() + $4 \
         WHERE name = $1 AND generation = $2 AND feed_floor IS NOT NULL AND \
         (feed_owner IS NULL OR feed_owner = $3 OR feed_until < clock_timestamp()) \
         RETURNING feed_floor, feed_top, feed_to, feed_done",
    )
    .bind(name)
    .bind(generation)
    .bind(owner)
    .bind(interval(lease_for))
    .fetch_optional(pool)
    .await?;
    row.as_ref().map_or(Ok(None), of)
}

pub(super) async fn save(
    pool: &PgPool,
    name: &str,
    generation: i64,
    owner: Uuid,
    lease_for: Duration,
    feed: &Feed,
) -> Result<bool, Error> {
    let over = feed.to.is_some_and(|to| feed.floor >= to);
    let columns = Columns::of((!over).then_some(feed));
    let done = sqlx::query(
        "UPDATE consumers SET feed_floor = $4, feed_top = $5, feed_to = $6, feed_done = $7, \
         feed_owner = CASE WHEN $4 IS NULL THEN NULL ELSE feed_owner END, \
         feed_until = clock_timestamp() + $8 \
         WHERE name = $1 AND generation = $2 AND feed_owner = $3",
    )
    .bind(name)
    .bind(generation)
    .bind(owner)
    .bind(columns.floor)
    .bind(columns.top)
    .bind(columns.to)
    .bind(columns.done)
    .bind(interval(lease_for))
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
