//! Consumers: where each stands and what it has done.

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Error, Postgres, Row, Transaction};

use super::feed;
use crate::limits::{CONSUMER_LOCK_TIMEOUT, WORK_DELETE_ROWS};
use crate::store::sql::{from_db, to_db};
use crate::store::work::{Consumer, Position, RowLock, Totals, kept};

/// Counted by triggers, and along an index that holds what is leased alone.
const READ: &str = "SELECT c.*, \
    (SELECT coalesce(sum(n), 0)::bigint FROM work_counts \
     WHERE what = 'set_aside' AND source = c.name) AS set_aside, \
    (SELECT count(*) FROM set_aside s WHERE s.consumer = c.name AND s.lease IS NOT NULL \
     AND s.due > clock_timestamp()) AS retrying, \
    (SELECT s.seq FROM set_aside s WHERE s.consumer = c.name ORDER BY s.seq LIMIT 1) AS oldest \
    FROM consumers c";

/// One consumer, or all by name.
pub(super) async fn read(pool: &PgPool, name: Option<&str>) -> Result<Vec<Consumer>, Error> {
    let rows = match name {
        Some(name) => {
            let one = AssertSqlSafe(format!("{READ} WHERE c.name = $1"));
            sqlx::query(one).bind(name).fetch_all(pool).await?
        }
        None => sqlx::query(AssertSqlSafe(format!("{READ} ORDER BY name"))).fetch_all(pool).await?,
    };
    rows.iter().map(consumer).collect()
}

fn consumer(row: &PgRow) -> Result<Consumer, Error> {
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
    pool: &PgPool,
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
    .execute(pool)
    .await?;
    read(pool, Some(name)).await?.into_iter().next().ok_or(Error::RowNotFound)
}

pub(super) async fn place(
    pool: &PgPool,
    name: &str,
    generation: i64,
    place: &Position,
) -> Result<bool, Error> {
    let feed = feed::Columns::of(place.feed.as_ref());
    let done = sqlx::query(
        "UPDATE consumers SET generation = generation + 1, handled = $3, floor = $4, \
         feed_floor = $5, feed_top = $6, feed_to = $7, feed_done = $8, feed_owner = NULL, \
         feed_until = '-infinity' WHERE name = $1 AND generation = $2",
    )
    .bind(name)
    .bind(generation)
    .bind(place.handled)
    .bind(to_db(place.floor))
    .bind(feed.floor)
    .bind(feed.top)
    .bind(feed.to)
    .bind(feed.done)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The lock on its row, of a transaction that does nothing else.
pub(in crate::store::postgres) struct HeldLock {
    _transaction: Transaction<'static, Postgres>,
}

impl RowLock for HeldLock {}

pub(super) async fn hold(
    pool: &PgPool,
    name: &str,
    generation: i64,
) -> Result<Option<HeldLock>, Error> {
    let mut transaction = holding(pool).await?;
    // After a wait for another's lock the row is looked at again as it is then.
    let locked =
        sqlx::query("SELECT FROM consumers WHERE name = $1 AND generation = $2 FOR NO KEY UPDATE")
            .bind(name)
            .bind(generation)
            .fetch_optional(&mut *transaction)
            .await?;
    Ok(locked.map(|_| HeldLock { _transaction: transaction }))
}

/// A transaction that ends by itself when it is left alone for too long.
async fn holding(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    let mut transaction = pool.begin().await?;
    let most = format!(
        "SET LOCAL idle_in_transaction_session_timeout = {}",
        CONSUMER_LOCK_TIMEOUT.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(most)).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Holds a queue's consumers, whether there is such a queue or not.
pub(in crate::store::postgres) async fn lock_queue(
    pool: &PgPool,
    name: &str,
) -> Result<HeldLock, Error> {
    let mut transaction = holding(pool).await?;
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended('agentbus consumers of queue ' || $1, 0))",
    )
    .bind(name)
    .execute(&mut *transaction)
    .await?;
    Ok(HeldLock { _transaction: transaction })
}

pub(super) async fn pause(pool: &PgPool, name: &str, reason: Option<&str>) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE consumers SET paused = $2 WHERE name = $1")
        .bind(name)
        .bind(reason.map(kept::text))
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes some of what it set aside; whether there may be more.
pub(super) async fn empty(pool: &PgPool, name: &str) -> Result<bool, Error> {
    let most = i64::try_from(WORK_DELETE_ROWS).unwrap_or(i64::MAX);
    let done = sqlx::query(
        "DELETE FROM set_aside WHERE consumer = $1 AND seq IN \
         (SELECT seq FROM set_aside WHERE consumer = $1 ORDER BY seq LIMIT $2 FOR UPDATE)",
    )
    .bind(name)
    .bind(most)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= WORK_DELETE_ROWS as u64)
}

/// Deletes it first, which waits for those who are setting aside, and then what
/// they set aside.
pub(super) async fn delete(pool: &PgPool, name: &str) -> Result<bool, Error> {
    let mut transaction = pool.begin().await?;
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
    pool: &PgPool,
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
    .execute(pool)
    .await?;
    Ok(())
}

pub(super) async fn add_totals(pool: &PgPool, name: &str, more: &Totals) -> Result<(), Error> {
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
    .execute(pool)
    .await?;
    Ok(())
}
