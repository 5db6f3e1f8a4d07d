//! What is fed from the store, by one process at a time.
//!
//! Invariant: a feed's progress is written only by who claimed it last, at the
//! generation it was claimed at. At one generation what is done stays done.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Error, Row};
use uuid::Uuid;

use super::{letters, set_aside};
use crate::store::sql::unreadable;
use crate::store::sql::{from_db, to_db};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::{DeadLetter, Feed, FeedClaim, SetAside};

/// `$4` and so on are null for a feed that is over.
const SAVE: &str = "
UPDATE consumers SET feed_floor = max(feed_floor, $4), feed_to = $6,
    feed_top = max($5, coalesce((SELECT max(value) FROM json_each(feed_done)), 0)),
    feed_done = (SELECT json_group_array(seq) FROM (
        SELECT value AS seq FROM json_each(feed_done) UNION SELECT value FROM json_each($7)
        ORDER BY seq) WHERE seq > max(feed_floor, $4)),
    feed_owner = CASE WHEN $4 IS NULL THEN NULL ELSE feed_owner END, feed_until = $8
WHERE name = $1 AND generation = $2 AND feed_owner = $3 AND feed_floor IS NOT NULL";

/// A feed as its columns take it.
pub(super) struct Columns {
    pub floor: Option<i64>,
    pub top: Option<i64>,
    pub to: Option<i64>,
    pub done: String,
}

impl Columns {
    pub fn of(feed: Option<&Feed>) -> Self {
        Self {
            floor: feed.map(|feed| to_db(feed.floor)),
            top: feed.map(|feed| to_db(feed.top)),
            to: feed.and_then(|feed| feed.to).map(to_db),
            done: serde_json::json!(feed.map_or(&[][..], |feed| &feed.done)).to_string(),
        }
    }
}

/// The feed of a consumer's row.
pub(super) fn of(row: &SqliteRow) -> Result<Option<Feed>, Error> {
    let (floor, top): (Option<i64>, Option<i64>) =
        (row.try_get("feed_floor")?, row.try_get("feed_top")?);
    let (Some(floor), Some(top)) = (floor, top) else { return Ok(None) };
    let done = serde_json::from_str(row.try_get("feed_done")?).map_err(unreadable)?;
    Ok(Some(Feed {
        floor: from_db(floor),
        top: from_db(top),
        to: row.try_get::<Option<i64>, _>("feed_to")?.map(from_db),
        done,
    }))
}

pub(super) async fn claim(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    generation: i64,
    owner: Uuid,
    lease_for: Duration,
) -> Result<Option<Feed>, Error> {
    let row = sqlx::query(
        "UPDATE consumers SET feed_owner = $3, feed_until = $4 \
         WHERE name = $1 AND generation = $2 AND feed_floor IS NOT NULL AND \
         (feed_owner IS NULL OR feed_owner = $3 OR feed_until < $5) \
         RETURNING feed_floor, feed_top, feed_to, feed_done",
    )
    .bind(name)
    .bind(generation)
    .bind(owner)
    .bind(time.until(lease_for))
    .bind(time.now())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map_or(Ok(None), of)
}

pub(super) async fn save(
    time: &StoreTime,
    connection: &mut SqliteConnection,
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
        .bind(time.until(lease_for))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// See [`crate::store::work::WorkStore::leave_feed`]; `false` when it is fenced.
pub(super) async fn leave(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    claim: FeedClaim,
    aside: &[&SetAside],
    dead: &[&DeadLetter],
) -> Result<bool, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let row = sqlx::query(
        "SELECT feed_floor, feed_top, feed_to, feed_done FROM consumers \
         WHERE name = $1 AND generation = $2 AND feed_owner = $3",
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
    set_aside::keep(time, &mut transaction, name, &aside).await?;
    letters::keep(&mut transaction, &dead).await?;
    feed.add_done(aside.iter().map(|one| one.seq).chain(dead.iter().map(|one| one.seq)));
    sqlx::query("UPDATE consumers SET feed_done = $2 WHERE name = $1")
        .bind(name)
        .bind(Columns::of(Some(&feed)).done)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
