//! Work queues. Each change is one transaction of the one writer, by the store's time.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Error, Row};
use uuid::Uuid;

use super::time::StoreTime;
use super::work::letters;
use super::write::parts;
use crate::limits::{JOB_ID_WINDOW, MAX_LEASE_BYTES};
use crate::store::job_rows::{RANKS, cut_by_bytes, micros, read_attempts, with_run_out};
use crate::store::jobs::{
    AddedJob, ExhaustedJob, JobRow, JobSettled, JobSettlement, LeasedRow, LeasedRows,
    RedriveOutcome,
};
use crate::store::sql::{from_db, to_db};

/// Keeps jobs in order, many a statement.
pub(super) async fn add(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    queue: &str,
    jobs: &[JobRow],
) -> Result<Option<Vec<AddedJob>>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !there(&mut transaction, queue).await? {
        transaction.rollback().await?;
        return Ok(None);
    }
    let mut places: Vec<AddedJob> = Vec::with_capacity(jobs.len());
    let mut at = 0;
    while at < jobs.len() {
        let plain = jobs[at..].iter().take_while(|job| job.identity.is_none()).count();
        if plain > 0 {
            insert_many(time, &mut transaction, queue, &jobs[at..at + plain], &mut places).await?;
            at += plain;
        } else {
            places.push(add_identified(time, &mut transaction, queue, &jobs[at]).await?);
            at += 1;
        }
    }
    transaction.commit().await?;
    Ok(Some(places))
}

async fn there(connection: &mut SqliteConnection, queue: &str) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM queues WHERE name = ?").bind(queue);
    Ok(row.fetch_optional(connection).await?.is_some())
}

/// Turns a dead letter into a job.
pub(super) async fn redrive_job(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    letter: Uuid,
    queue: &str,
    job: &JobRow,
) -> Result<RedriveOutcome, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let outcome = if !there(&mut transaction, queue).await? {
        RedriveOutcome::NoQueue
    } else if letters::discard(&mut transaction, letter).await? {
        let job = std::slice::from_ref(job);
        insert_many(time, &mut transaction, queue, job, &mut Vec::with_capacity(1)).await?;
        RedriveOutcome::Done
    } else {
        RedriveOutcome::NoDeadLetter
    };
    transaction.commit().await?;
    Ok(outcome)
}

async fn insert_many(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    queue: &str,
    jobs: &[JobRow],
    places: &mut Vec<AddedJob>,
) -> Result<(), Error> {
    for part in parts(jobs) {
        let sql = format!(
            "INSERT INTO jobs (queue, rank, due, body) VALUES {}",
            vec!["(?, ?, ?, ?)"; part.len()].join(", ")
        );
        let statement = part.iter().fold(sqlx::query(AssertSqlSafe(sql)), |statement, job| {
            statement.bind(queue).bind(job.rank).bind(time.until(job.delay)).bind(job.body.as_ref())
        });
        let last = statement.execute(&mut *connection).await?.last_insert_rowid();
        // One statement of the only writer: its rows have consecutive sequences.
        let first = from_db(last) + 1 - part.len() as u64;
        places.extend((first..).take(part.len()).map(|seq| AddedJob { seq, same: None }));
    }
    Ok(())
}

async fn add_identified(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    queue: &str,
    job: &JobRow,
) -> Result<AddedJob, Error> {
    let Some((id, digest)) = &job.identity else { return Err(Error::RowNotFound) };
    let known =
        sqlx::query("SELECT seq, digest FROM job_ids WHERE queue = ? AND id = ? AND until > ?")
            .bind(queue)
            .bind(id)
            .bind(time.now())
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(row) = known {
        let same = row.try_get::<Vec<u8>, _>("digest")? == digest;
        return Ok(AddedJob { seq: from_db(row.try_get("seq")?), same: Some(same) });
    }
    let mut places = Vec::with_capacity(1);
    insert_many(time, connection, queue, std::slice::from_ref(job), &mut places).await?;
    let place = places.pop().ok_or(Error::RowNotFound)?;
    sqlx::query(
        "INSERT OR REPLACE INTO job_ids (queue, id, seq, digest, until) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(queue)
    .bind(id)
    .bind(to_db(place.seq))
    .bind(digest.as_slice())
    .bind(time.until(JOB_ID_WINDOW))
    .execute(connection)
    .await?;
    Ok(place)
}

const DUE: &str = "SELECT seq, length(body) AS bytes FROM jobs \
    WHERE queue = ? AND rank = ? AND due <= ? AND attempt < ? AND NOT failed \
    ORDER BY due, seq LIMIT ?";
const LEASE: &str = "UPDATE jobs SET attempts = CASE WHEN lease IS NULL THEN attempts \
        ELSE json_insert(attempts, '$[#]', json_array(attempt, due + ?5, \
            'the lease ran out' || coalesce(' (worker ' || worker || ')', ''))) END, \
    attempt = attempt + 1, lease = ?1, due = ?2, worker = ?3 \
    WHERE seq IN (SELECT value FROM json_each(?4)) RETURNING seq, attempt, body";

/// Leases due jobs, lowest rank first.
pub(super) async fn lease(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    queue: &str,
    limit: usize,
    max_deliver: u32,
    lease_for: Duration,
    worker: Option<&str>,
) -> Result<LeasedRows, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (begun, lease, ends) = (time.now(), Uuid::new_v4(), time.until(lease_for));
    let mut found: Vec<(i64, i64)> = Vec::new();
    for rank in RANKS {
        let rows = sqlx::query(DUE)
            .bind(queue)
            .bind(rank)
            .bind(begun)
            .bind(max_deliver)
            .bind(to_db((limit - found.len()) as u64))
            .fetch_all(&mut *transaction)
            .await?;
        for row in rows {
            found.push((row.try_get("seq")?, row.try_get("bytes")?));
        }
        if found.len() >= limit {
            break;
        }
    }
    let order = cut_by_bytes(&found, MAX_LEASE_BYTES);
    let mut jobs = Vec::with_capacity(order.len());
    if !order.is_empty() {
        let rows = sqlx::query(LEASE)
            .bind(lease)
            .bind(ends)
            .bind(worker)
            .bind(serde_json::json!(order).to_string())
            .bind(time.ahead())
            .fetch_all(&mut *transaction)
            .await?;
        for row in rows {
            jobs.push(leased(&row)?);
        }
    }
    transaction.commit().await?;
    let place: HashMap<u64, usize> =
        order.iter().enumerate().map(|(at, seq)| (from_db(*seq), at)).collect();
    jobs.sort_by_key(|job| place.get(&job.seq).copied());
    Ok(LeasedRows { lease, expires_at: time.to_wall(ends), jobs })
}

fn leased(row: &SqliteRow) -> Result<LeasedRow, Error> {
    Ok(LeasedRow {
        seq: from_db(row.try_get("seq")?),
        attempt: row.try_get("attempt")?,
        body: Bytes::from(row.try_get::<Vec<u8>, _>("body")?),
    })
}

/// Ends or prolongs leases: all of a lease's acks in one statement.
pub(super) async fn end(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    ends: &[(u64, Uuid, JobSettlement)],
) -> Result<Vec<JobSettled>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = vec![JobSettled::Lost; ends.len()];
    let mut done: HashMap<Uuid, HashMap<u64, usize>> = HashMap::new();
    for (at, (seq, lease, end)) in ends.iter().enumerate() {
        match end {
            // A second end of the same lease finds its place taken: it is lost.
            JobSettlement::Done => {
                done.entry(*lease).or_default().entry(*seq).or_insert(at);
            }
            other => {
                delete_done(time, &mut transaction, &mut done, &mut answers).await?;
                answers[at] = end_one(time, &mut transaction, *seq, *lease, other).await?;
            }
        }
    }
    delete_done(time, &mut transaction, &mut done, &mut answers).await?;
    transaction.commit().await?;
    Ok(answers)
}

async fn delete_done(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    done: &mut HashMap<Uuid, HashMap<u64, usize>>,
    answers: &mut [JobSettled],
) -> Result<(), Error> {
    const DELETE: &str = "DELETE FROM jobs WHERE lease = ? AND due > ? AND NOT failed \
        AND seq IN (SELECT value FROM json_each(?)) RETURNING seq";
    for (lease, seqs) in done.drain() {
        let list: Vec<i64> = seqs.keys().copied().map(to_db).collect();
        let rows = sqlx::query(DELETE)
            .bind(lease)
            .bind(time.now())
            .bind(serde_json::json!(list).to_string())
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            if let Some(at) = seqs.get(&from_db(row.try_get("seq")?)) {
                answers[*at] = JobSettled::Done;
            }
        }
    }
    Ok(())
}

async fn end_one(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    seq: u64,
    lease: Uuid,
    end: &JobSettlement,
) -> Result<JobSettled, Error> {
    const ERROR: &str = "attempts = json_insert(attempts, '$[#]', json_array(attempt, ?6, ?2))";
    let held = "WHERE seq = ?3 AND lease = ?4 AND due > ?1 AND NOT failed";
    let (set, error, due) = match end {
        JobSettlement::Done => return Ok(JobSettled::Lost),
        JobSettlement::Extend(lease_for) => ("due = ?5".to_owned(), None, time.until(*lease_for)),
        JobSettlement::Retry { delay, error } => {
            (format!("{ERROR}, lease = NULL, due = ?5"), Some(error), time.until(*delay))
        }
        JobSettlement::Fail { error } => {
            (format!("{ERROR}, lease = NULL, failed = 1, due = ?5"), Some(error), time.now())
        }
    };
    let moved = sqlx::query(AssertSqlSafe(format!("UPDATE jobs SET {set} {held}")))
        .bind(time.now())
        .bind(error)
        .bind(to_db(seq))
        .bind(lease)
        .bind(due)
        .bind(time.wall())
        .execute(connection)
        .await?;
    Ok(match (moved.rows_affected(), end) {
        (0, _) => JobSettled::Lost,
        (_, JobSettlement::Extend(_)) => JobSettled::Extended(time.to_wall(due)),
        _ => JobSettled::Done,
    })
}

/// Jobs that wait to be buried.
pub(super) async fn spent(
    time: &StoreTime,
    pool: &sqlx::SqlitePool,
    limit: usize,
) -> Result<Vec<ExhaustedJob>, Error> {
    let rows = sqlx::query(
        "SELECT seq, queue, attempt, attempts, failed, lease IS NOT NULL AS ran_out, due, worker, body \
         FROM jobs JOIN queues ON name = queue \
         WHERE attempt > 0 AND due <= ? AND (failed OR attempt >= max_deliver) \
         ORDER BY due LIMIT ?",
    )
    .bind(time.now())
    .bind(to_db(limit as u64))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| spent_job(time, row)).collect()
}

fn spent_job(time: &StoreTime, row: &SqliteRow) -> Result<ExhaustedJob, Error> {
    let attempt: u32 = row.try_get("attempt")?;
    let mut attempts = read_attempts(row.try_get("attempts")?);
    if row.try_get::<bool, _>("ran_out")? {
        let worker: Option<String> = row.try_get("worker")?;
        with_run_out(&mut attempts, attempt, time.to_wall(row.try_get("due")?), worker.as_deref());
    }
    Ok(ExhaustedJob {
        queue: row.try_get("queue")?,
        seq: from_db(row.try_get("seq")?),
        attempt,
        attempts,
        failed: row.try_get("failed")?,
        body: Bytes::from(row.try_get::<Vec<u8>, _>("body")?),
    })
}

/// Forgets spent jobs, and identities out of their window.
pub(super) async fn remove_exhausted_jobs(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    seqs: &[u64],
) -> Result<(), Error> {
    let list: Vec<i64> = seqs.iter().copied().map(to_db).collect();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM jobs WHERE seq IN (SELECT value FROM json_each(?))")
        .bind(serde_json::json!(list).to_string())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM job_ids WHERE until <= ?")
        .bind(time.now())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Microseconds until something may be leased.
pub(super) async fn next(
    time: &StoreTime,
    pool: &sqlx::SqlitePool,
    queue: &str,
    max_deliver: u32,
) -> Result<Option<Duration>, Error> {
    let mut first: Option<i64> = None;
    for rank in RANKS {
        let due: Option<i64> = sqlx::query_scalar(
            "SELECT due FROM jobs WHERE queue = ? AND rank = ? AND attempt < ? AND NOT failed \
             ORDER BY due LIMIT 1",
        )
        .bind(queue)
        .bind(rank)
        .bind(max_deliver)
        .fetch_optional(pool)
        .await?;
        first = [first, due].into_iter().flatten().min();
    }
    Ok(first.map(|due| micros(due.saturating_sub(time.now()))))
}
