//! Work queues. Each change is one transaction, by the database's clock.
//!
//! Rows are taken with `SKIP LOCKED`: two that lease at once get different jobs and
//! neither waits for the other.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Error, Row};
use uuid::Uuid;

use super::database::interval;
use super::queues::hold;
use crate::limits::{JOB_ID_WINDOW, MAX_LEASE_BYTES};
use crate::store::job_rows::{RANKS, cut_by_bytes, micros, read_attempts, to_micros, with_run_out};
use crate::store::jobs::{
    AddedJob, ExhaustedJob, JobRow, JobSettled, JobSettlement, LeasedRow, LeasedRows,
    RedriveOutcome,
};
use crate::store::sql::{from_db, to_db};

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Keeps jobs in order: sequences first, then the identities that are new, then the rows; `None`
/// when there is no such queue.
pub(super) async fn add(
    pool: &PgPool,
    queue: &str,
    jobs: &[JobRow],
) -> Result<Option<Vec<AddedJob>>, Error> {
    let mut transaction = pool.begin().await?;
    hold(&mut transaction, queue, true).await?;
    let count = to_db(jobs.len() as u64);
    // In a statement after the one that waited for the hold: it sees what was deleted meanwhile.
    let mut seqs: Vec<i64> = sqlx::query_scalar(
        "SELECT nextval(pg_get_serial_sequence('jobs', 'seq')) FROM generate_series(1, $1) \
         WHERE EXISTS (SELECT 1 FROM queues WHERE name = $2)",
    )
    .bind(count)
    .bind(queue)
    .fetch_all(&mut *transaction)
    .await?;
    if seqs.len() < jobs.len() {
        transaction.rollback().await?;
        return Ok(None);
    }
    seqs.sort_unstable();
    let mut places: Vec<AddedJob> =
        seqs.iter().map(|seq| AddedJob { seq: from_db(*seq), same: None }).collect();
    identify(&mut transaction, queue, jobs, &mut places).await?;
    let new = (0..jobs.len()).filter(|at| places[*at].same.is_none());
    let new: Vec<(i64, &JobRow)> = new.map(|at| (seqs[at], &jobs[at])).collect();
    insert(&mut transaction, queue, &new).await?;
    transaction.commit().await?;
    Ok(Some(places))
}

async fn insert(
    connection: &mut PgConnection,
    queue: &str,
    jobs: &[(i64, &JobRow)],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO jobs (seq, queue, rank, due, body) OVERRIDING SYSTEM VALUE \
         SELECT seq, $1, rank, clock_timestamp() + delay * interval '1 microsecond', body \
         FROM unnest($2::bigint[], $3::smallint[], $4::bigint[], $5::bytea[]) \
         AS new (seq, rank, delay, body)",
    )
    .bind(queue)
    .bind(jobs.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| i16::from(job.rank)).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| to_micros(job.delay)).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| job.body.as_ref()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Turns a dead letter into a job.
pub(super) async fn redrive_job(
    pool: &PgPool,
    letter: Uuid,
    queue: &str,
    job: &JobRow,
) -> Result<RedriveOutcome, Error> {
    let mut transaction = pool.begin().await?;
    hold(&mut transaction, queue, true).await?;
    let seq: Option<i64> = sqlx::query_scalar(
        "SELECT nextval(pg_get_serial_sequence('jobs', 'seq')) \
         WHERE EXISTS (SELECT 1 FROM queues WHERE name = $1)",
    )
    .bind(queue)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(seq) = seq else {
        transaction.rollback().await?;
        return Ok(RedriveOutcome::NoQueue);
    };
    // Of two at once the second waits for the row, and finds it gone.
    let gone = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
        .bind(letter)
        .execute(&mut *transaction)
        .await?;
    if gone.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(RedriveOutcome::NoDeadLetter);
    }
    insert(&mut transaction, queue, &[(seq, job)]).await?;
    transaction.commit().await?;
    Ok(RedriveOutcome::Done)
}

/// Takes the identities that nobody has, and looks up where the others stand.
async fn identify(
    connection: &mut PgConnection,
    queue: &str,
    jobs: &[JobRow],
    places: &mut [AddedJob],
) -> Result<(), Error> {
    let mut first: HashMap<Uuid, usize> = HashMap::new();
    for (at, job) in jobs.iter().enumerate() {
        if let Some((id, _)) = job.identity {
            first.entry(id).or_insert(at);
        }
    }
    if first.is_empty() {
        return Ok(());
    }
    // In one order, so that two batches that share ids do not wait for each other for ever.
    let mut ids: Vec<(Uuid, usize)> = first.into_iter().collect();
    ids.sort_unstable();
    let digests = ids.iter().filter_map(|(_, at)| jobs[*at].identity.as_ref());
    let digests: Vec<&[u8]> = digests.map(|(_, digest)| digest.as_slice()).collect();
    let list: Vec<Uuid> = ids.iter().map(|(id, _)| *id).collect();
    sqlx::query(
        "INSERT INTO job_ids (queue, id, seq, digest, until) \
         SELECT $1, id, seq, digest, clock_timestamp() + $5 \
         FROM unnest($2::uuid[], $3::bigint[], $4::bytea[]) AS new (id, seq, digest) \
         ON CONFLICT (queue, id) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, \
         until = excluded.until WHERE job_ids.until <= clock_timestamp()",
    )
    .bind(queue)
    .bind(&list)
    .bind(ids.iter().map(|(_, at)| to_db(places[*at].seq)).collect::<Vec<_>>())
    .bind(digests)
    .bind(interval(JOB_ID_WINDOW))
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query("SELECT id, seq, digest FROM job_ids WHERE queue = $1 AND id = ANY($2)")
        .bind(queue)
        .bind(&list)
        .fetch_all(connection)
        .await?;
    let mut known: HashMap<Uuid, (u64, Vec<u8>)> = HashMap::new();
    for row in rows {
        known.insert(row.try_get("id")?, (from_db(row.try_get("seq")?), row.try_get("digest")?));
    }
    for (job, place) in jobs.iter().zip(places) {
        let Some((id, digest)) = &job.identity else { continue };
        if let Some((seq, kept)) = known.get(id).filter(|(seq, _)| *seq != place.seq) {
            *place = AddedJob { seq: *seq, same: Some(kept == digest) };
        }
    }
    Ok(())
}

const DUE: &str = "SELECT seq, octet_length(body)::bigint AS bytes FROM jobs \
    WHERE queue = $1 AND rank = $2 AND due <= clock_timestamp() AND attempt < $3 AND NOT failed \
    ORDER BY due, seq LIMIT $4 FOR UPDATE SKIP LOCKED";
const LEASE: &str = "UPDATE jobs SET attempts = CASE WHEN lease IS NULL THEN attempts \
        ELSE (attempts::jsonb || jsonb_build_array(jsonb_build_array(attempt, \
            (extract(epoch FROM due) * 1000000)::bigint, \
            'the lease ran out' || coalesce(' (worker ' || worker || ')', ''))))::text END, \
    attempt = attempt + 1, lease = $1, due = $2, worker = $3 \
    WHERE seq = ANY($4) RETURNING seq, attempt, body";

/// Leases due jobs, lowest rank first.
pub(super) async fn lease(
    pool: &PgPool,
    queue: &str,
    limit: usize,
    max_deliver: u32,
    lease_for: Duration,
    worker: Option<&str>,
) -> Result<LeasedRows, Error> {
    let mut transaction = pool.begin().await?;
    let mut found: Vec<(i64, i64)> = Vec::new();
    for rank in RANKS {
        let rows = sqlx::query(DUE)
            .bind(queue)
            .bind(rank)
            .bind(small(max_deliver))
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
    let lease = Uuid::new_v4();
    let ends: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp() + $1")
        .bind(interval(lease_for))
        .fetch_one(&mut *transaction)
        .await?;
    let mut jobs = Vec::with_capacity(order.len());
    if !order.is_empty() {
        let update = sqlx::query(LEASE).bind(lease).bind(ends).bind(worker).bind(&order);
        for row in update.fetch_all(&mut *transaction).await? {
            jobs.push(leased(&row)?);
        }
    }
    transaction.commit().await?;
    let place: HashMap<u64, usize> =
        order.iter().enumerate().map(|(at, seq)| (from_db(*seq), at)).collect();
    jobs.sort_by_key(|job| place.get(&job.seq).copied());
    Ok(LeasedRows { lease, expires_at: ends, jobs })
}

fn leased(row: &PgRow) -> Result<LeasedRow, Error> {
    let attempt: i32 = row.try_get("attempt")?;
    Ok(LeasedRow {
        seq: from_db(row.try_get("seq")?),
        attempt: u32::try_from(attempt).unwrap_or_default(),
        body: Bytes::from(row.try_get::<Vec<u8>, _>("body")?),
    })
}

/// Ends or prolongs leases: all of a lease's acks in one statement.
pub(super) async fn end(
    pool: &PgPool,
    ends: &[(u64, Uuid, JobSettlement)],
) -> Result<Vec<JobSettled>, Error> {
    let mut transaction = pool.begin().await?;
    let mut answers = vec![JobSettled::Lost; ends.len()];
    let mut done: HashMap<Uuid, HashMap<u64, usize>> = HashMap::new();
    for (at, (seq, lease, end)) in ends.iter().enumerate() {
        match end {
            // A second end of the same lease finds its place taken: it is lost.
            JobSettlement::Done => {
                done.entry(*lease).or_default().entry(*seq).or_insert(at);
            }
            other => {
                delete_done(&mut transaction, &mut done, &mut answers).await?;
                answers[at] = end_one(&mut transaction, *seq, *lease, other).await?;
            }
        }
    }
    delete_done(&mut transaction, &mut done, &mut answers).await?;
    transaction.commit().await?;
    Ok(answers)
}

async fn delete_done(
    connection: &mut PgConnection,
    done: &mut HashMap<Uuid, HashMap<u64, usize>>,
    answers: &mut [JobSettled],
) -> Result<(), Error> {
    const DELETE: &str = "DELETE FROM jobs WHERE seq = ANY($2) AND lease = $1 \
        AND due > clock_timestamp() AND NOT failed RETURNING seq";
    for (lease, seqs) in done.drain() {
        let mut list: Vec<i64> = seqs.keys().copied().map(to_db).collect();
        list.sort_unstable();
        let rows = sqlx::query(DELETE).bind(lease).bind(list).fetch_all(&mut *connection).await?;
        for row in rows {
            if let Some(at) = seqs.get(&from_db(row.try_get("seq")?)) {
                answers[*at] = JobSettled::Done;
            }
        }
    }
    Ok(())
}

async fn end_one(
    connection: &mut PgConnection,
    seq: u64,
    lease: Uuid,
    end: &JobSettlement,
) -> Result<JobSettled, Error> {
    const ERROR: &str = "attempts = (attempts::jsonb || jsonb_build_array(jsonb_build_array(\
        attempt, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $3::text)))::text";
    const EXTEND: &str = "due = clock_timestamp() + $4, worker = coalesce(worker, $3)";
    let (set, error, delay) = match end {
        JobSettlement::Done => return Ok(JobSettled::Lost),
        JobSettlement::Extend(lease_for) => (EXTEND.to_owned(), None, *lease_for),
        JobSettlement::Retry { delay, error } => {
            (format!("{ERROR}, lease = NULL, due = clock_timestamp() + $4"), Some(error), *delay)
        }
        JobSettlement::Fail { error } => (
            format!("{ERROR}, lease = NULL, failed = true, due = clock_timestamp() + $4"),
            Some(error),
            Duration::ZERO,
        ),
    };
    let sql = format!(
        "UPDATE jobs SET {set} WHERE seq = $1 AND lease = $2 AND due > clock_timestamp() \
         AND NOT failed RETURNING due"
    );
    let due: Option<DateTime<Utc>> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(to_db(seq))
        .bind(lease)
        .bind(error)
        .bind(interval(delay))
        .fetch_optional(connection)
        .await?;
    Ok(match (due, end) {
        (None, _) => JobSettled::Lost,
        (Some(due), JobSettlement::Extend(_)) => JobSettled::Extended(due),
        (Some(_), _) => JobSettled::Done,
    })
}

/// Jobs that wait to be buried.
pub(super) async fn spent(pool: &PgPool, limit: usize) -> Result<Vec<ExhaustedJob>, Error> {
    let rows = sqlx::query(
        "SELECT seq, queue, attempt, attempts, failed, lease IS NOT NULL AS ran_out, due, worker, body \
         FROM jobs JOIN queues ON name = queue \
         WHERE attempt > 0 AND due <= clock_timestamp() AND (failed OR attempt >= max_deliver) \
         ORDER BY due LIMIT $1",
    )
    .bind(to_db(limit as u64))
    .fetch_all(pool)
    .await?;
    rows.iter().map(spent_job).collect()
}

fn spent_job(row: &PgRow) -> Result<ExhaustedJob, Error> {
    let attempt: i32 = row.try_get("attempt")?;
    let attempt = u32::try_from(attempt).unwrap_or_default();
    let mut attempts = read_attempts(row.try_get("attempts")?);
    if row.try_get::<bool, _>("ran_out")? {
        let worker: Option<String> = row.try_get("worker")?;
        with_run_out(&mut attempts, attempt, row.try_get("due")?, worker.as_deref());
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
pub(super) async fn remove_exhausted_jobs(pool: &PgPool, seqs: &[u64]) -> Result<(), Error> {
    let list: Vec<i64> = seqs.iter().copied().map(to_db).collect();
    let mut transaction = pool.begin().await?;
    sqlx::query("DELETE FROM jobs WHERE seq = ANY($1)")
        .bind(list)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM job_ids WHERE until <= clock_timestamp()")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Time until something may be leased.
pub(super) async fn next(
    pool: &PgPool,
    queue: &str,
    max_deliver: u32,
) -> Result<Option<Duration>, Error> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM min(due) - clock_timestamp()) * 1000000)::bigint \
         FROM unnest($3::smallint[]) AS ranks (r), LATERAL (SELECT due FROM jobs \
         WHERE queue = $1 AND rank = r AND attempt < $2 AND NOT failed ORDER BY due LIMIT 1) AS next",
    )
    .bind(queue)
    .bind(small(max_deliver))
    .bind(RANKS.to_vec())
    .fetch_one(pool)
    .await?;
    Ok(first.map(micros))
}
