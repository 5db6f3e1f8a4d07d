//! Adds, redrives and leases jobs. Each change is one transaction of the one writer, by the store's time.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Error, Row as _};
use uuid::Uuid;

use super::SqliteStore;
use super::database::in_turn;
use super::time::StoreTime;
use super::work::dead_letters;
use crate::limits::{JOB_ID_WINDOW, MAX_LEASE_BYTES};
use crate::store::StoreError;
use crate::store::jobs::columns::{RANKS, cut_by_bytes};
use crate::store::jobs::job::read_leased;
use crate::store::jobs::{AddedJob, JobRow, JobStore, LeasedRows, RedriveOutcome};
use crate::store::sql::{from_db, insert_parts, limit_to_db, to_db};

#[async_trait]
impl JobStore for SqliteStore {
    async fn add_jobs(
        &self,
        queue: &str,
        jobs: &[JobRow],
    ) -> Result<Option<Vec<AddedJob>>, StoreError> {
        in_turn!(self, Jobs, connection => add(&self.time, connection, queue, jobs))
    }

    async fn redrive_job(
        &self,
        letter: Uuid,
        queue: &str,
        job: &JobRow,
    ) -> Result<RedriveOutcome, StoreError> {
        in_turn!(self, Jobs, connection => redrive(&self.time, connection, letter, queue, job))
    }

    async fn lease_jobs(
        &self,
        queue: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
        worker: Option<&str>,
    ) -> Result<LeasedRows, StoreError> {
        in_turn!(self, Jobs, connection => lease(
            &self.time, connection, queue, limit, max_deliver, lease_for, worker
        ))
    }
}

/// Adds jobs in order, many with one statement.
async fn add(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    queue: &str,
    jobs: &[JobRow],
) -> Result<Option<Vec<AddedJob>>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if !queue_exists(&mut transaction, queue).await? {
        transaction.rollback().await?;
        return Ok(None);
    }
    let mut added: Vec<AddedJob> = Vec::with_capacity(jobs.len());
    let mut at = 0;
    while at < jobs.len() {
        let plain = jobs[at..].iter().take_while(|job| job.identity.is_none()).count();
        if plain > 0 {
            insert_many(time, &mut transaction, queue, &jobs[at..at + plain], &mut added).await?;
            at += plain;
        } else {
            added.push(add_identified(time, &mut transaction, queue, &jobs[at]).await?);
            at += 1;
        }
    }
    transaction.commit().await?;
    Ok(Some(added))
}

async fn queue_exists(connection: &mut SqliteConnection, queue: &str) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM queues WHERE name = ?").bind(queue);
    Ok(row.fetch_optional(connection).await?.is_some())
}

/// Turns a dead letter into a job.
async fn redrive(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    letter: Uuid,
    queue: &str,
    job: &JobRow,
) -> Result<RedriveOutcome, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let outcome = if !queue_exists(&mut transaction, queue).await? {
        RedriveOutcome::NoQueue
    } else if dead_letters::discard(&mut transaction, letter).await? {
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
    added: &mut Vec<AddedJob>,
) -> Result<(), Error> {
    for part in insert_parts(jobs) {
        let sql = format!(
            "INSERT INTO jobs (queue, rank, due, body, trace) VALUES {}",
            vec!["(?, ?, ?, ?, ?)"; part.len()].join(", ")
        );
        let statement = part.iter().fold(sqlx::query(AssertSqlSafe(sql)), |statement, job| {
            let statement = statement.bind(queue).bind(job.rank).bind(time.until(job.delay));
            statement.bind(job.body.as_ref()).bind(job.trace_column())
        });
        let last = statement.execute(&mut *connection).await?.last_insert_rowid();
        // Nobody else writes, so the rows of one statement have consecutive sequences.
        let first = from_db(last) + 1 - part.len() as u64;
        added.extend((first..).take(part.len()).map(|seq| AddedJob { seq, same: None }));
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
    let mut added = Vec::with_capacity(1);
    insert_many(time, connection, queue, std::slice::from_ref(job), &mut added).await?;
    let one = added.pop().ok_or(Error::RowNotFound)?;
    sqlx::query(
        "INSERT OR REPLACE INTO job_ids (queue, id, seq, digest, until) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(queue)
    .bind(id)
    .bind(to_db(one.seq))
    .bind(digest.as_slice())
    .bind(time.until(JOB_ID_WINDOW))
    .execute(connection)
    .await?;
    Ok(one)
}

const DUE: &str = "SELECT seq, length(body) AS bytes FROM jobs \
    WHERE queue = ? AND rank = ? AND due <= ? AND attempt < ? AND NOT failed \
    ORDER BY due, seq LIMIT ?";
const LEASE: &str = "UPDATE jobs SET attempts = CASE WHEN lease IS NULL THEN attempts \
        ELSE json_insert(attempts, '$[#]', json_array(attempt, due + ?5, \
            'the lease ran out' || coalesce(' (worker ' || worker || ')', ''))) END, \
    attempt = attempt + 1, lease = ?1, due = ?2, worker = ?3 \
    WHERE seq IN (SELECT value FROM json_each(?4)) RETURNING seq, attempt, body, trace";

/// Leases due jobs, lowest rank first.
async fn lease(
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
            jobs.push(read_leased((&row).into())?);
        }
    }
    transaction.commit().await?;
    let nth: HashMap<u64, usize> =
        order.iter().enumerate().map(|(at, seq)| (from_db(*seq), at)).collect();
    jobs.sort_by_key(|job| nth.get(&job.seq).copied());
    Ok(LeasedRows { lease, expires_at: time.to_wall(ends), jobs })
}
