//! Rules of queues, counts, and notes on attempts of jobs in JetStream.

use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Connection, Error, Row};
use uuid::Uuid;

use super::time::StoreTime;
use crate::limits::{QUEUE_CACHE, WORK_DELETE_ROWS};
use crate::store::job_rows::{micros, read_steps, to_micros, write_steps};
use crate::store::jobs::{JobCounts, QueueDeletion, QueueRow, RecordedAttempt};
use crate::store::sql::{from_db, to_db};
use crate::store::work::Attempt;

pub(super) async fn secret(
    connection: &mut SqliteConnection,
    fresh: &[u8; 32],
) -> Result<Vec<u8>, Error> {
    sqlx::query("INSERT INTO lease_secret (one, secret) VALUES (1, ?) ON CONFLICT DO NOTHING")
        .bind(fresh.as_slice())
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("SELECT secret FROM lease_secret").fetch_one(connection).await
}

pub(super) async fn add_done(connection: &mut SqliteConnection, more: u64) -> Result<(), Error> {
    let more = i64::try_from(more).unwrap_or(i64::MAX);
    sqlx::query("UPDATE job_totals SET done = done + ?").bind(more).execute(connection).await?;
    Ok(())
}

pub(super) async fn held(pool: &SqlitePool) -> Result<u64, Error> {
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(pool).await?;
    Ok(from_db(held))
}

pub(super) async fn done(pool: &SqlitePool) -> Result<u64, Error> {
    let done: i64 = sqlx::query_scalar("SELECT done FROM job_totals").fetch_one(pool).await?;
    Ok(u64::try_from(done).unwrap_or_default())
}

fn queue_row(time: &StoreTime, row: &SqliteRow) -> Result<QueueRow, Error> {
    let (lease, longest): (i64, i64) = (row.try_get("lease_us")?, row.try_get("longest_us")?);
    let held = row.try_get::<i64, _>("longest_until")? > time.now();
    Ok(QueueRow {
        name: row.try_get("name")?,
        lease: micros(lease),
        max_deliver: row.try_get("max_deliver")?,
        backoff: read_steps(row.try_get("backoff_us")?),
        longest_lease: micros(if held { lease.max(longest) } else { lease }),
        incarnation: row.try_get("made")?,
    })
}

pub(super) async fn queue(
    time: &StoreTime,
    pool: &SqlitePool,
    name: &str,
) -> Result<Option<QueueRow>, Error> {
    let row =
        sqlx::query("SELECT * FROM queues WHERE name = ?").bind(name).fetch_optional(pool).await?;
    row.as_ref().map(|row| queue_row(time, row)).transpose()
}

pub(super) async fn queues(
    time: &StoreTime,
    pool: &SqlitePool,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<QueueRow>, Error> {
    let rows = sqlx::query("SELECT * FROM queues WHERE name > ? ORDER BY name LIMIT ?")
        .bind(after.unwrap_or_default())
        .bind(to_db(limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| queue_row(time, row)).collect()
}

pub(super) async fn put(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    row: &QueueRow,
    keep: bool,
    most: usize,
) -> Result<Option<bool>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let old = sqlx::query("SELECT * FROM queues WHERE name = ?")
        .bind(&row.name)
        .fetch_optional(&mut *transaction)
        .await?;
    let old = old.as_ref().map(|row| queue_row(time, row)).transpose()?;
    if old.is_some() && keep {
        transaction.rollback().await?;
        return Ok(Some(false));
    }
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM queues").fetch_one(&mut *transaction).await?;
    if old.is_none() && from_db(count) >= most as u64 {
        transaction.rollback().await?;
        return Ok(None);
    }
    let longest = old.as_ref().map_or(Duration::ZERO, |old| old.longest_lease);
    sqlx::query(
        "INSERT INTO queues (name, lease_us, max_deliver, backoff_us, longest_us, longest_until, \
         made) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET lease_us = excluded.lease_us, \
         max_deliver = excluded.max_deliver, backoff_us = excluded.backoff_us, \
         longest_us = excluded.longest_us, longest_until = excluded.longest_until",
    )
    .bind(&row.name)
    .bind(to_micros(row.lease))
    .bind(row.max_deliver)
    .bind(write_steps(&row.backoff))
    .bind(to_micros(longest))
    .bind(time.until(longest + 2 * QUEUE_CACHE))
    .bind(row.incarnation)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(old.is_none()))
}

/// Whether a job is leased, or waits to be buried.
async fn has_leased(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 FROM jobs INDEXED BY jobs_tried WHERE attempt > 0 AND queue = ?1 \
         AND (failed OR (due > ?2 AND lease IS NOT NULL) \
              OR attempt >= (SELECT max_deliver FROM queues WHERE name = ?1)) LIMIT 1",
    );
    Ok(row.bind(name).bind(time.now()).fetch_optional(connection).await?.is_some())
}

/// Drops some of the jobs that were never leased, unless one is; whether there may be more.
pub(super) async fn empty(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    made: Option<Uuid>,
) -> Result<bool, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let here = sqlx::query("SELECT 1 FROM queues WHERE name = ? AND made IS ?");
    let here = here.bind(name).bind(made).fetch_optional(&mut *transaction).await?;
    if here.is_none() || has_leased(time, &mut transaction, name).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    let done = sqlx::query(
        "DELETE FROM jobs WHERE seq IN \
         (SELECT seq FROM jobs WHERE queue = ? AND attempt = 0 LIMIT ?)",
    )
    .bind(name)
    .bind(to_db(WORK_DELETE_ROWS as u64))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done.rows_affected() >= WORK_DELETE_ROWS as u64)
}

/// Deletes a queue, and all but its dead letters.
pub(super) async fn delete(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    made: Option<Uuid>,
    force: bool,
) -> Result<QueueDeletion, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let held = has_leased(time, &mut transaction, name).await?;
    let gone = sqlx::query("DELETE FROM queues WHERE name = ? AND made IS ?")
        .bind(name)
        .bind(made)
        .execute(&mut *transaction)
        .await?;
    if gone.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(QueueDeletion::Missing);
    }
    let any = sqlx::query("SELECT 1 FROM jobs WHERE queue = ? LIMIT 1").bind(name);
    if held || (!force && any.fetch_optional(&mut *transaction).await?.is_some()) {
        transaction.rollback().await?;
        return Ok(if held { QueueDeletion::Leased } else { QueueDeletion::NotEmpty });
    }
    for statement in [
        "DELETE FROM jobs WHERE queue = ?",
        "DELETE FROM job_ids WHERE queue = ?",
        "DELETE FROM job_attempts WHERE queue = ?",
    ] {
        sqlx::query(statement).bind(name).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(QueueDeletion::Done)
}

pub(super) async fn counts(
    time: &StoreTime,
    pool: &SqlitePool,
    queue: &str,
) -> Result<(JobCounts, Option<Bytes>), Error> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE due <= ?1) AS waiting, \
         count(*) FILTER (WHERE due > ?1 AND lease IS NOT NULL) AS leased, \
         count(*) FILTER (WHERE due > ?1 AND lease IS NULL) AS later, \
         min(seq) FILTER (WHERE due <= ?1 OR lease IS NOT NULL) AS oldest \
         FROM jobs WHERE queue = ?2",
    )
    .bind(time.now())
    .bind(queue)
    .fetch_one(pool)
    .await?;
    let count = |name| row.try_get::<i64, _>(name).map(from_db);
    let counts = JobCounts {
        waiting: count("waiting")?,
        leased: count("leased")?,
        delayed: count("later")?,
    };
    let oldest: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM jobs WHERE seq = ?")
        .bind(row.try_get::<Option<i64>, _>("oldest")?)
        .fetch_optional(pool)
        .await?;
    Ok((counts, oldest.map(Bytes::from)))
}

pub(super) async fn note(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    queue: &str,
    notes: &[RecordedAttempt],
) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for note in notes {
        sqlx::query(
            "INSERT INTO job_attempts (queue, seq, attempt, at, error, due, guess) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at, \
             error = excluded.error, due = excluded.due, guess = excluded.guess \
             WHERE job_attempts.guess OR NOT excluded.guess",
        )
        .bind(queue)
        .bind(to_db(note.seq))
        .bind(note.attempt.attempt)
        .bind(note.attempt.at.timestamp_micros())
        .bind(&note.attempt.error)
        .bind(time.until(note.delay))
        .bind(note.guess)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}

pub(super) async fn noted(pool: &SqlitePool, queue: &str, seq: u64) -> Result<Vec<Attempt>, Error> {
    let rows = sqlx::query(
        "SELECT attempt, at, error FROM job_attempts WHERE queue = ? AND seq = ? ORDER BY attempt",
    )
    .bind(queue)
    .bind(to_db(seq))
    .fetch_all(pool)
    .await?;
    let read = |row: &SqliteRow| {
        Ok(Attempt {
            attempt: row.try_get("attempt")?,
            at: chrono::DateTime::from_timestamp_micros(row.try_get("at")?).unwrap_or_default(),
            error: row.try_get("error")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn forget(
    connection: &mut SqliteConnection,
    queue: &str,
    seqs: &[u64],
) -> Result<(), Error> {
    let list: Vec<i64> = seqs.iter().copied().map(to_db).collect();
    sqlx::query(
        "DELETE FROM job_attempts WHERE queue = ? AND seq IN (SELECT value FROM json_each(?))",
    )
    .bind(queue)
    .bind(serde_json::json!(list).to_string())
    .execute(connection)
    .await
    .map(drop)
}

pub(super) async fn delays(time: &StoreTime, pool: &SqlitePool, queue: &str) -> Result<u64, Error> {
    let jobs: i64 = sqlx::query_scalar(
        // Of each job's last attempt: SQLite takes the other columns from the row of the maximum.
        "SELECT count(*) FROM (SELECT max(attempt), due, guess FROM job_attempts WHERE queue = ? \
         GROUP BY seq) WHERE due > ? AND NOT guess",
    )
    .bind(queue)
    .bind(time.now())
    .fetch_one(pool)
    .await?;
    Ok(from_db(jobs))
}

/// Jobs whose last noted attempt is over, and was the last they have.
pub(super) async fn spent(
    time: &StoreTime,
    pool: &SqlitePool,
    limit: usize,
) -> Result<Vec<(String, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT queue, seq FROM job_attempts JOIN queues ON name = queue GROUP BY queue, seq \
         HAVING max(attempt) >= max(max_deliver) AND max(due) <= ? ORDER BY max(due) LIMIT ?",
    )
    .bind(time.now())
    .bind(to_db(limit as u64))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("queue")?, from_db(row.try_get("seq")?)))).collect()
}
