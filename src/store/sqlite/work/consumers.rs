//! Consumers: where each stands and what it has done.

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Error, Row, Sqlite};

use super::feed;
use crate::limits::WORK_DELETE_ROWS;
use crate::store::sql::{from_db, to_db};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::{Consumer, Position, Totals, kept};

/// Counted by triggers, and along an index that holds what is leased alone.
const READ: &str = "SELECT c.*, \
    coalesce((SELECT n FROM work_counts WHERE what = 'set_aside' AND source = c.name), 0) \
    AS set_aside, \
    (SELECT count(*) FROM set_aside s INDEXED BY set_aside_leased WHERE s.consumer = c.name \
     AND s.lease IS NOT NULL AND s.due > $1) AS retrying, \
    (SELECT min(s.seq) FROM set_aside s INDEXED BY set_aside_seq WHERE s.consumer = c.name) \
    AS oldest FROM consumers c";

/// One consumer, or all by name.
pub(super) async fn read(
    time: &StoreTime,
    pool: &SqlitePool,
    name: Option<&str>,
) -> Result<Vec<Consumer>, Error> {
    let rows = match name {
        Some(name) => one(time, name).fetch_all(pool).await?,
        None => {
            let all = AssertSqlSafe(format!("{READ} ORDER BY name"));
            sqlx::query(all).bind(time.now()).fetch_all(pool).await?
        }
    };
    rows.iter().map(consumer).collect()
}

fn one(time: &StoreTime, name: &str) -> Query<'static, Sqlite, SqliteArguments> {
    let one = AssertSqlSafe(format!("{READ} WHERE c.name = $2"));
    sqlx::query(one).bind(time.now()).bind(name.to_owned())
}

fn consumer(row: &SqliteRow) -> Result<Consumer, Error> {
    let number = |column: &str| Ok::<_, Error>(from_db(row.try_get(column)?));
    Ok(Consumer {
        name: row.try_get("name")?,
        filter: row.try_get("filter")?,
        generation: row.try_get("generation")?,
        handled: row.try_get("handled")?,
        floor: number("floor")?,
        feed: feed::of(row)?,
        paused: row.try_get("paused")?,
        totals: Totals {
            processed: number("processed")?,
            failed: number("failed")?,
            redelivered: number("redelivered")?,
            expired: number("expired")?,
            busy_us: number("busy_us")?,
        },
        set_aside: number("set_aside")?,
        retrying: number("retrying")?,
        oldest_set_aside: row.try_get::<Option<i64>, _>("oldest")?.map(from_db),
    })
}

pub(super) async fn create(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    filter: &str,
    place: &Position,
) -> Result<Consumer, Error> {
    let feed = feed::Columns::of(place.feed.as_ref());
    sqlx::query(
        "INSERT INTO consumers (name, filter, handled, floor, feed_floor, feed_top, feed_to, \
         feed_done) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(name)
    .bind(filter)
    .bind(place.handled)
    .bind(to_db(place.floor))
    .bind(feed.floor)
    .bind(feed.top)
    .bind(feed.to)
    .bind(feed.done)
    .execute(&mut *connection)
    .await?;
    consumer(&one(time, name).fetch_one(connection).await?)
}

pub(super) async fn place(
    connection: &mut SqliteConnection,
    name: &str,
    generation: i64,
    place: &Position,
) -> Result<bool, Error> {
    let feed = feed::Columns::of(place.feed.as_ref());
    let done = sqlx::query(
        "UPDATE consumers SET generation = generation + 1, handled = $3, floor = $4, \
         feed_floor = $5, feed_top = $6, feed_to = $7, feed_done = $8, feed_owner = NULL, \
         feed_until = 0 WHERE name = $1 AND generation = $2",
    )
    .bind(name)
    .bind(generation)
    .bind(place.handled)
    .bind(to_db(place.floor))
    .bind(feed.floor)
    .bind(feed.top)
    .bind(feed.to)
    .bind(feed.done)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn pause(
    connection: &mut SqliteConnection,
    name: &str,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE consumers SET paused = $2 WHERE name = $1")
        .bind(name)
        .bind(reason.map(kept::text))
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes some of what it set aside; whether there may be more.
pub(super) async fn empty(connection: &mut SqliteConnection, name: &str) -> Result<bool, Error> {
    let most = i64::try_from(WORK_DELETE_ROWS).unwrap_or(i64::MAX);
    let done = sqlx::query(
        "DELETE FROM set_aside INDEXED BY set_aside_seq WHERE consumer = $1 AND seq IN \
         (SELECT seq FROM set_aside WHERE consumer = $1 ORDER BY seq LIMIT $2)",
    )
    .bind(name)
    .bind(most)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() >= WORK_DELETE_ROWS as u64)
}

/// Deletes it and what it has set aside.
pub(super) async fn delete(connection: &mut SqliteConnection, name: &str) -> Result<bool, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let done = sqlx::query("DELETE FROM consumers WHERE name = $1")
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    for statement in [
        "DELETE FROM set_aside WHERE consumer = $1",
        "DELETE FROM work_counts WHERE what = 'set_aside' AND source = $1",
    ] {
        sqlx::query(statement).bind(name).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn raise_floor(
    connection: &mut SqliteConnection,
    name: &str,
    generation: i64,
    floor: u64,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE consumers SET floor = $3 WHERE name = $1 AND generation = $2 AND floor < $3",
    )
    .bind(name)
    .bind(generation)
    .bind(to_db(floor))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn add_totals(
    connection: &mut SqliteConnection,
    name: &str,
    more: &Totals,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE consumers SET processed = processed + $2, failed = failed + $3, \
         redelivered = redelivered + $4, expired = expired + $5, busy_us = busy_us + $6 \
         WHERE name = $1",
    )
    .bind(name)
    .bind(to_db(more.processed))
    .bind(to_db(more.failed))
    .bind(to_db(more.redelivered))
    .bind(to_db(more.expired))
    .bind(to_db(more.busy_us))
    .execute(connection)
    .await?;
    Ok(())
}
