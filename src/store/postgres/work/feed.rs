//! What is fed from the store, by one process at a time.
//!
//! Invariant: a feed's progress is written only by who claimed it last, at the
//! generation it was claimed at. At one generation what is done stays done.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Error, Row};
use uuid::Uuid;

use super::{letters, set_aside};
use crate::store::postgres::database::interval;
use crate::store::sql::{from_db, to_db};
use crate::store::work::{DeadLetter, Feed, FeedClaim, SetAside};

/// `$4` and so on are null for a feed that is over. `greatest` passes over a null.
const SAVE: &str = "
UPDATE consumers SET feed_to = $6,
    feed_floor = CASE WHEN $4 IS NULL THEN NULL ELSE greatest(feed_floor, $4) END,
    feed_top = CASE WHEN $5 IS NULL THEN NULL
        ELSE greatest($5, (SELECT max(seq) FROM unnest(feed_done) AS seq)) END,
    feed_done = CASE WHEN $4 IS NULL THEN '{}' ELSE ARRAY(
        SELECT DISTINCT seq FROM unnest(feed_done || $7::bigint[]) AS seq
        WHERE seq > greatest(feed_floor, $4) ORDER BY seq) END,
    feed_owner = CASE WHEN $4 IS NULL THEN NULL ELSE feed_owner END,
    feed_until = clock_timestamp() + $8
WHERE name = $1 AND generation = $2 AND feed_owner = $3 AND feed_floor IS NOT NULL";

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
    let done = sqlx::query(SAVE)
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

/// See [`crate::store::work::WorkStore::leave_feed`]; `false` when it is fenced.
pub(super) async fn leave(
    pool: &PgPool,
    name: &str,
    claim: FeedClaim,
    aside: &[&SetAside],
    dead: &[&DeadLetter],
) -> Result<bool, Error> {
    let mut transaction = pool.begin().await?;
    let row = sqlx::query(
        "SELECT feed_floor, feed_top, feed_to, feed_done FROM consumers \
         WHERE name = $1 AND generation = $2 AND feed_owner = $3 FOR NO KEY UPDATE",
    )
    .bind(name)
    .bind(claim.generation)
    .bind(claim.owner)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(mut feed) = row.as_ref().map(of).transpose()?.flatten() else {
        transaction.rollback().await?;
        return Ok(false);
    };
    let aside: Vec<_> = aside.iter().copied().filter(|one| !feed.is_done(one.seq)).collect();
    let dead: Vec<_> = dead.iter().copied().filter(|one| !feed.is_done(one.seq)).collect();
    set_aside::keep(&mut transaction, name, &aside).await?;
    letters::bury(&mut *transaction, &dead).await?;
    feed.add_done(aside.iter().map(|one| one.seq).chain(dead.iter().map(|one| one.seq)));
    sqlx::query("UPDATE consumers SET feed_done = $2 WHERE name = $1")
        .bind(name)
        .bind(Columns::of(Some(&feed)).done)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
