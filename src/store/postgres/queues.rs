//! Rules of queues, counts, and notes on attempts of jobs in JetStream.

use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{Error, Row};
use uuid::Uuid;

use super::database::interval;
use crate::limits::{QUEUE_CACHE, WORK_DELETE_ROWS};
use crate::store::job_rows::{micros, read_steps, to_micros, write_steps};
use crate::store::jobs::{JobCounts, QueueDeletion, QueueRow, RecordedAttempt};
use crate::store::sql::{from_db, to_db};
use crate::store::work::Attempt;

pub(super) async fn secret(pool: &PgPool, fresh: &[u8; 32]) -> Result<Vec<u8>, Error> {
    sqlx::query("INSERT INTO lease_secret (secret) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(fresh.as_slice())
        .execute(pool)
        .await?;
    sqlx::query_scalar("SELECT secret FROM lease_secret").fetch_one(pool).await
}

pub(super) async fn add_done(pool: &PgPool, more: u64) -> Result<(), Error> {
    let more = i64::try_from(more).unwrap_or(i64::MAX);
    sqlx::query("UPDATE job_totals SET done = done + $1").bind(more).execute(pool).await?;
    Ok(())
}

pub(super) async fn held(pool: &PgPool) -> Result<u64, Error> {
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(pool).await?;
    Ok(from_db(held))
}

pub(super) async fn done(pool: &PgPool) -> Result<u64, Error> {
    let done: i64 = sqlx::query_scalar("SELECT done FROM job_totals").fetch_one(pool).await?;
    Ok(u64::try_from(done).unwrap_or_default())
}

const QUEUE: &str = "SELECT name, lease_us, max_deliver, backoff_us, made, \
    CASE WHEN longest_until > clock_timestamp() THEN greatest(lease_us, longest_us) \
    ELSE lease_us END AS longest FROM queues";

fn queue_row(row: &PgRow) -> Result<QueueRow, Error> {
    let max_deliver: i32 = row.try_get("max_deliver")?;
    Ok(QueueRow {
        name: row.try_get("name")?,
        lease: micros(row.try_get("lease_us")?),
        max_deliver: u32::try_from(max_deliver).unwrap_or(1),
        backoff: read_steps(row.try_get("backoff_us")?),
        longest_lease: micros(row.try_get("longest")?),
        incarnation: row.try_get("made")?,
    })
}

pub(super) async fn queue(pool: &PgPool, name: &str) -> Result<Option<QueueRow>, Error> {
    let sql = sqlx::AssertSqlSafe(format!("{QUEUE} WHERE name = $1"));
    let row = sqlx::query(sql).bind(name).fetch_optional(pool).await?;
    row.as_ref().map(queue_row).transpose()
}

pub(super) async fn queues(
    pool: &PgPool,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<QueueRow>, Error> {
    let sql = sqlx::AssertSqlSafe(format!("{QUEUE} WHERE name > $1 ORDER BY name LIMIT $2"));
    let rows = sqlx::query(sql)
        .bind(after.unwrap_or_default())
        .bind(to_db(limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(queue_row).collect()
}

pub(super) async fn put(
    pool: &PgPool,
    row: &QueueRow,
    keep: bool,
    most: usize,
) -> Result<Option<bool>, Error> {
    let mut transaction = pool.begin().await?;
    // One change of the queues at a time: two could count the same last place.
    sqlx::query("LOCK TABLE queues IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let sql = sqlx::AssertSqlSafe(format!("{QUEUE} WHERE name = $1"));
    let old = sqlx::query(sql).bind(&row.name).fetch_optional(&mut *transaction).await?;
    let old = old.as_ref().map(queue_row).transpose()?;
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
         made) VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6, $7) \
         ON CONFLICT (name) DO UPDATE SET lease_us = excluded.lease_us, \
         max_deliver = excluded.max_deliver, backoff_us = excluded.backoff_us, \
         longest_us = excluded.longest_us, longest_until = excluded.longest_until",
    )
    .bind(&row.name)
    .bind(to_micros(row.lease))
    .bind(i32::try_from(row.max_deliver).unwrap_or(i32::MAX))
    .bind(write_steps(&row.backoff))
    .bind(to_micros(longest))
    .bind(interval(longest + 2 * QUEUE_CACHE))
    .bind(row.incarnation)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(old.is_none()))
}

/// Holds a queue while jobs come in, until the transaction ends: beside others that do so (`shared`), or
/// alone. Two queues may share a lock: they wait for each other, no more.
pub(super) async fn hold(
    connection: &mut PgConnection,
    queue: &str,
    shared: bool,
) -> Result<(), Error> {
    let sql = if shared {
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('agentbus queue ' || $1, 0))"
    } else {
        "SELECT pg_advisory_xact_lock(hashtextextended('agentbus queue ' || $1, 0))"
    };
    sqlx::query(sql).bind(queue).execute(connection).await.map(drop)
}

/// Drops some of the jobs that were never leased, unless one is; whether there may be more.
pub(super) async fn empty(pool: &PgPool, name: &str, made: Option<Uuid>) -> Result<bool, Error> {
    let done = sqlx::query(
        "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE queue = $1 AND attempt = 0 \
         LIMIT $2 FOR UPDATE SKIP LOCKED) AND NOT EXISTS (SELECT 1 FROM jobs \
         WHERE attempt > 0 AND queue = $1 \
         AND (failed OR (lease IS NOT NULL AND due > clock_timestamp()))) \
         AND EXISTS (SELECT 1 FROM queues WHERE name = $1 AND made IS NOT DISTINCT FROM $3)",
    )
    .bind(name)
    .bind(to_db(WORK_DELETE_ROWS as u64))
    .bind(made)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= WORK_DELETE_ROWS as u64)
}

/// Deletes a queue, and all but its dead letters. Who leases meanwhile locks rows: a job
/// that got a lease is seen when the deletion of the others is done, and ends it.
pub(super) async fn delete(
    pool: &PgPool,
    name: &str,
    made: Option<Uuid>,
    force: bool,
) -> Result<QueueDeletion, Error> {
    let mut transaction = pool.begin().await?;
    hold(&mut transaction, name, false).await?;
    let gone: Option<i64> = sqlx::query_scalar(
        "DELETE FROM queues WHERE name = $1 AND made IS NOT DISTINCT FROM $2 \
         RETURNING max_deliver::bigint",
    )
    .bind(name)
    .bind(made)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(most) = gone else {
        transaction.rollback().await?;
        return Ok(QueueDeletion::Missing);
    };
    if force {
        sqlx::query(
            "DELETE FROM jobs WHERE queue = $1 \
             AND NOT (failed OR attempt >= $2 OR (lease IS NOT NULL AND due > clock_timestamp()))",
        )
        .bind(name)
        .bind(most)
        .execute(&mut *transaction)
        .await?;
    }
    let left: Option<bool> = sqlx::query_scalar(
        "SELECT failed OR attempt >= $2 OR (lease IS NOT NULL AND due > clock_timestamp()) \
         FROM jobs WHERE queue = $1 ORDER BY 1 DESC LIMIT 1",
    )
    .bind(name)
    .bind(most)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(held) = left {
        transaction.rollback().await?;
        // What came free just now is no reason to say that it was none.
        return Ok(if held || force { QueueDeletion::Leased } else { QueueDeletion::NotEmpty });
    }
    for statement in
        ["DELETE FROM job_ids WHERE queue = $1", "DELETE FROM job_attempts WHERE queue = $1"]
    {
        sqlx::query(statement).bind(name).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(QueueDeletion::Done)
}

pub(super) async fn counts(
    pool: &PgPool,
    queue: &str,
) -> Result<(JobCounts, Option<Bytes>), Error> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE due <= t) AS waiting, \
         count(*) FILTER (WHERE due > t AND lease IS NOT NULL) AS leased, \
         count(*) FILTER (WHERE due > t AND lease IS NULL) AS later, \
         min(seq) FILTER (WHERE due <= t OR lease IS NOT NULL) AS oldest \
         FROM jobs, (SELECT clock_timestamp() AS t) AS clock WHERE queue = $1",
    )
    .bind(queue)
    .fetch_one(pool)
    .await?;
    let count = |name| row.try_get::<i64, _>(name).map(from_db);
    let counts = JobCounts {
        waiting: count("waiting")?,
        leased: count("leased")?,
        delayed: count("later")?,
    };
    let oldest: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM jobs WHERE seq = $1")
        .bind(row.try_get::<Option<i64>, _>("oldest")?)
        .fetch_optional(pool)
        .await?;
    Ok((counts, oldest.map(Bytes::from)))
}

pub(super) async fn note(
    pool: &PgPool,
    queue: &str,
    notes: &[RecordedAttempt],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO job_attempts (queue, seq, attempt, at, error, due, guess) \
         SELECT $1, seq, attempt, at, error, clock_timestamp() + delay * interval '1 microsecond', guess \
         FROM unnest($2::bigint[], $3::integer[], $4::timestamptz[], $5::text[], $6::bigint[], \
         $7::boolean[]) AS new (seq, attempt, at, error, delay, guess) \
         ON CONFLICT (queue, seq, attempt) DO UPDATE SET at = excluded.at, error = excluded.error, \
         due = excluded.due, guess = excluded.guess \
         WHERE job_attempts.guess OR NOT excluded.guess",
    )
    .bind(queue)
    .bind(notes.iter().map(|note| to_db(note.seq)).collect::<Vec<_>>())
    .bind(
        notes
            .iter()
            .map(|note| i32::try_from(note.attempt.attempt).unwrap_or(i32::MAX))
            .collect::<Vec<_>>(),
    )
    .bind(notes.iter().map(|note| note.attempt.at).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| note.attempt.error.as_str()).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| to_micros(note.delay)).collect::<Vec<_>>())
    .bind(notes.iter().map(|note| note.guess).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map(drop)
}

/// Jobs whose last noted attempt is over, and was the last they have.
pub(super) async fn spent(pool: &PgPool, limit: usize) -> Result<Vec<(String, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT queue, seq FROM job_attempts JOIN queues ON name = queue GROUP BY queue, seq \
         HAVING max(attempt) >= max(max_deliver) AND max(due) <= clock_timestamp() \
         ORDER BY max(due) LIMIT $1",
    )
    .bind(to_db(limit as u64))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("queue")?, from_db(row.try_get("seq")?)))).collect()
}

pub(super) async fn noted(pool: &PgPool, queue: &str, seq: u64) -> Result<Vec<Attempt>, Error> {
    let rows = sqlx::query(
        "SELECT attempt, at, error FROM job_attempts WHERE queue = $1 AND seq = $2 ORDER BY attempt",
    )
    .bind(queue)
    .bind(to_db(seq))
    .fetch_all(pool)
    .await?;
    let read = |row: &PgRow| {
        let attempt: i32 = row.try_get("attempt")?;
        Ok(Attempt {
            attempt: u32::try_from(attempt).unwrap_or_default(),
            at: row.try_get("at")?,
            error: row.try_get("error")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn forget(pool: &PgPool, queue: &str, seqs: &[u64]) -> Result<(), Error> {
    let list: Vec<i64> = seqs.iter().copied().map(to_db).collect();
    sqlx::query("DELETE FROM job_attempts WHERE queue = $1 AND seq = ANY($2)")
        .bind(queue)
        .bind(list)
        .execute(pool)
        .await
        .map(drop)
}

pub(super) async fn delays(pool: &PgPool, queue: &str) -> Result<u64, Error> {
    let jobs: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT DISTINCT ON (seq) due, guess FROM job_attempts \
         WHERE queue = $1 ORDER BY seq, attempt DESC) AS last \
         WHERE due > clock_timestamp() AND NOT guess",
    )
    .bind(queue)
    .fetch_one(pool)
    .await?;
    Ok(from_db(jobs))
}
