//! Adds, redrives and leases jobs.
//!
//! Invariant: leasing locks rows with `SKIP LOCKED`, so two workers that lease at once get different jobs and
//! neither waits for the other. Times are by the database's clock.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Error, Row as _};
use uuid::Uuid;

use super::PostgresStore;
use super::database::interval;
use super::queues::lock;
use crate::limits::{JOB_ID_WINDOW, MAX_LEASE_BYTES};
use crate::store::StoreError;
use crate::store::jobs::columns::{RANKS, cut_by_bytes};
use crate::store::jobs::job::read_leased;
use crate::store::jobs::{AddedJob, JobRow, JobStore, LeasedRows, RedriveOutcome};
use crate::store::sql::{from_db, limit_to_db, small, to_db, to_micros};

#[async_trait]
impl JobStore for PostgresStore {
    async fn add_jobs(
        &self,
        queue: &str,
        jobs: &[JobRow],
    ) -> Result<Option<Vec<AddedJob>>, StoreError> {
        self.job_work(add(&self.jobs, queue, jobs)).await
    }

    async fn redrive_job(
        &self,
        letter: Uuid,
        queue: &str,
        job: &JobRow,
    ) -> Result<RedriveOutcome, StoreError> {
        self.job_work(redrive(&self.jobs, letter, queue, job)).await
    }

    async fn lease_jobs(
        &self,
        queue: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
        worker: Option<&str>,
    ) -> Result<LeasedRows, StoreError> {
        self.job_work(lease(&self.jobs, queue, limit, max_deliver, lease_for, worker)).await
    }
}

/// Adds jobs in order: takes their sequences, then stores the identities that are new, then the rows.
async fn add(pool: &PgPool, queue: &str, jobs: &[JobRow]) -> Result<Option<Vec<AddedJob>>, Error> {
    let mut transaction = pool.begin().await?;
    lock(&mut transaction, queue, true).await?;
    let count = limit_to_db(jobs.len());
    // This runs after the statement that waits for the lock, so it sees a deletion that was committed
    // meanwhile.
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
    let mut added: Vec<AddedJob> =
        seqs.iter().map(|seq| AddedJob { seq: from_db(*seq), same: None }).collect();
    identify(&mut transaction, queue, jobs, &mut added).await?;
    let new = (0..jobs.len()).filter(|at| added[*at].same.is_none());
    let new: Vec<(i64, &JobRow)> = new.map(|at| (seqs[at], &jobs[at])).collect();
    insert(&mut transaction, queue, &new).await?;
    transaction.commit().await?;
    Ok(Some(added))
}

async fn insert(
    connection: &mut PgConnection,
    queue: &str,
    jobs: &[(i64, &JobRow)],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO jobs (seq, queue, rank, due, body, trace) OVERRIDING SYSTEM VALUE \
         SELECT seq, $1, rank, clock_timestamp() + delay * interval '1 microsecond', body, trace \
         FROM unnest($2::bigint[], $3::smallint[], $4::bigint[], $5::bytea[], $6::bytea[]) \
         AS new (seq, rank, delay, body, trace)",
    )
    .bind(queue)
    .bind(jobs.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| i16::from(job.rank)).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| to_micros(job.delay)).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| job.body.as_ref()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| job.trace_column()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Turns a dead letter into a job.
async fn redrive(
    pool: &PgPool,
    letter: Uuid,
    queue: &str,
    job: &JobRow,
) -> Result<RedriveOutcome, Error> {
    let mut transaction = pool.begin().await?;
    lock(&mut transaction, queue, true).await?;
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
    // Of two concurrent redrives the second waits here for the row, and then finds it gone.
    let deleted = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
        .bind(letter)
        .execute(&mut *transaction)
        .await?;
    if deleted.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(RedriveOutcome::NoDeadLetter);
    }
    insert(&mut transaction, queue, &[(seq, job)]).await?;
    transaction.commit().await?;
    Ok(RedriveOutcome::Done)
}

/// Stores the identities that are new, and finds the jobs that have the others.
async fn identify(
    connection: &mut PgConnection,
    queue: &str,
    jobs: &[JobRow],
    added: &mut [AddedJob],
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
    // Sorted, so that two batches that share ids do not deadlock.
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
    .bind(ids.iter().map(|(_, at)| to_db(added[*at].seq)).collect::<Vec<_>>())
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
    for (job, one) in jobs.iter().zip(added) {
        let Some((id, digest)) = &job.identity else { continue };
        if let Some((seq, stored)) = known.get(id).filter(|(seq, _)| *seq != one.seq) {
            *one = AddedJob { seq: *seq, same: Some(stored == digest) };
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
    WHERE seq = ANY($4) RETURNING seq, attempt, body, trace";

/// Leases due jobs, lowest rank first.
async fn lease(
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
            .bind(limit_to_db(limit - found.len()))
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
            jobs.push(read_leased((&row).into())?);
        }
    }
    transaction.commit().await?;
    let nth: HashMap<u64, usize> =
        order.iter().enumerate().map(|(at, seq)| (from_db(*seq), at)).collect();
    jobs.sort_by_key(|job| nth.get(&job.seq).copied());
    Ok(LeasedRows { lease, expires_at: ends, jobs })
}
