//! Jobs of the memory bus: added, leased, settled, counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use super::columns::RANKS;
use crate::message::TraceContext;
use crate::store::error::StoreError;
use crate::store::sql::{
    Database, Dialect, Pool, Row, Statement, from_micros, limit_to_db, small, to_db,
};
use crate::store::trace;
use crate::store::work::Attempt;
use crate::store::work::attempts::{self, error_text};

/// The error of an attempt whose lease ran out.
pub const LEASE_RAN_OUT: &str = "the lease ran out";

/// The result of a redrive of a dead letter to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedriveOutcome {
    /// The job waits in its queue, and the dead letter is deleted.
    Done,
    /// There is no such dead letter.
    NoDeadLetter,
    /// There is no such queue; the dead letter stays.
    NoQueue,
}

/// A job to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub id: Uuid,
    /// The rank of its priority. Jobs of rank 0 are leased first.
    pub rank: u8,
    /// Time from now until it may be leased.
    pub delay: Duration,
    /// The encoded job.
    pub body: Bytes,
    /// The id by which a repeat is recognised, and a digest of the content, which a repeat must have too.
    pub identity: Option<(Uuid, [u8; 32])>,
    /// The trace that the job belongs to.
    pub trace: Option<Arc<TraceContext>>,
}

impl JobRow {
    /// The column of the trace.
    pub(crate) fn trace_column(&self) -> Option<Vec<u8>> {
        self.trace.as_deref().map(trace::encode)
    }
}

/// The result of adding a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedJob {
    /// Its sequence, or that of the earlier job with its identity.
    pub seq: u64,
    /// `None` if the job was added. If nothing was added, since the identity was known: whether the digest is
    /// the same.
    pub same: Option<bool>,
}

/// A job that was leased just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedRow {
    /// Its sequence.
    pub seq: u64,
    /// The number of this attempt, from 1 on.
    pub attempt: u32,
    /// The encoded job.
    pub body: Bytes,
    /// The trace that the job belongs to.
    pub trace: Option<Arc<TraceContext>>,
}

/// Jobs that were leased together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedRows {
    /// The one lease of all of them.
    pub lease: Uuid,
    /// When the lease runs out.
    pub expires_at: DateTime<Utc>,
    /// The jobs, in the order in which they were leased.
    pub jobs: Vec<LeasedRow>,
}

/// What to do with a leased job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSettlement {
    /// Delete it: it is done.
    Done,
    /// Try it again after a delay.
    Retry {
        /// Time from now until it may be leased again.
        delay: Duration,
        /// Why the attempt failed.
        error: String,
    },
    /// Extend the lease, so that it ends this long from now.
    Extend(Duration),
    /// End the lease: the job has failed for good, and waits to become a dead letter.
    Fail {
        /// Why the job failed.
        error: String,
    },
}

/// The result of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobSettled {
    /// The lease was valid, and has ended.
    Done,
    /// The lease was valid, and now runs until this time.
    Extended(DateTime<Utc>),
    /// The lease had ended before.
    Lost,
}

/// A job whose attempts are used up, or that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExhaustedJob {
    /// Its queue.
    pub queue: String,
    /// Its sequence.
    pub seq: u64,
    /// How often it was leased.
    pub attempt: u32,
    /// Those of its attempts that are known, with their errors.
    pub attempts: Vec<Attempt>,
    /// Whether a worker reported that it failed for good.
    pub failed: bool,
    /// The encoded job.
    pub body: Bytes,
}

/// How many jobs a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Jobs that are due and not leased.
    pub waiting: u64,
    /// Jobs that are leased.
    pub leased: u64,
    /// Jobs that are not due yet.
    pub delayed: u64,
}

/// The part of a store that holds jobs.
#[async_trait]
pub trait JobStore: Database {
    /// Adds jobs, in order. Adds nothing and returns `None` if there is no such queue.
    async fn add_jobs(
        &self,
        queue: &str,
        jobs: &[JobRow],
    ) -> Result<Option<Vec<AddedJob>>, StoreError>;

    /// Turns a dead letter into a job of the queue, whatever the job's id, in one transaction. Of two
    /// concurrent calls one finds no dead letter.
    async fn redrive_job(
        &self,
        letter: Uuid,
        queue: &str,
        job: &JobRow,
    ) -> Result<RedriveOutcome, StoreError>;

    /// Leases due jobs with fewer than `max_deliver` attempts: lowest rank first, then by due time.
    async fn lease_jobs(
        &self,
        queue: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
        worker: Option<&str>,
    ) -> Result<LeasedRows, StoreError>;

    /// Time until a job may be leased: zero if one may be leased now, `None` if there is none.
    async fn next_job(
        &self,
        queue: &str,
        max_deliver: u32,
    ) -> Result<Option<Duration>, StoreError> {
        let first = |rank| {
            format!(
                "SELECT due FROM (SELECT due FROM jobs WHERE queue = $1 AND rank = {rank} \
                 AND attempt < $2 AND NOT failed ORDER BY due LIMIT 1) rank_{rank}"
            )
        };
        let sql = format!(
            "SELECT {} FROM ({}) first",
            self.dialect().micros_until("min(due)", "$3"),
            RANKS.map(first).join(" UNION ALL ")
        );
        let statement = Statement::new(sql)
            .bind(queue)
            .bind(i64::from(small(max_deliver)))
            .bind(Duration::ZERO);
        let rows = self.select(Pool::Jobs, statement).await?;
        Ok(rows.first(|row| row.get::<Option<i64>>(0))?.flatten().map(from_micros))
    }

    /// Ends or extends leases in one transaction. Each is named by the job's sequence and the lease.
    async fn settle_jobs(
        &self,
        settlements: &[(u64, Uuid, JobSettlement)],
    ) -> Result<Vec<JobSettled>, StoreError> {
        let (steps, statements): (Vec<Step>, Vec<Statement>) =
            steps(settlements, self.dialect()).into_iter().unzip();
        let mut settled = vec![JobSettled::Lost; settlements.len()];
        let done = self.transaction(Pool::Jobs, statements).await?;
        for (step, rows) in steps.into_iter().zip(&done) {
            match step {
                Step::Done(indices) => {
                    for seq in rows.decode(|row| row.seq("seq"))? {
                        // If a lease is settled twice, the first settlement counts.
                        if let Some((_, at)) = indices.iter().find(|(known, _)| *known == seq) {
                            settled[*at] = JobSettled::Done;
                        }
                    }
                }
                Step::Other(at) => {
                    let due = rows.first(|row| self.due(row, "due"))?;
                    settled[at] = match (due, &settlements[at].2) {
                        (None, _) => JobSettled::Lost,
                        (Some(due), JobSettlement::Extend(_)) => JobSettled::Extended(due),
                        (Some(_), _) => JobSettled::Done,
                    };
                }
            }
        }
        Ok(settled)
    }

    /// Up to `limit` jobs that wait to become dead letters.
    async fn exhausted_jobs(&self, limit: usize) -> Result<Vec<ExhaustedJob>, StoreError> {
        let sql = format!(
            "SELECT seq, queue, attempt, attempts, failed, lease IS NOT NULL AS ran_out, due, worker, body \
             FROM jobs JOIN queues ON name = queue \
             WHERE attempt > 0 AND due <= {} AND (failed OR attempt >= max_deliver) \
             ORDER BY due LIMIT $2",
            self.dialect().after("$1")
        );
        let statement = Statement::new(sql).bind(Duration::ZERO).bind(limit_to_db(limit));
        let rows = self.select(Pool::Jobs, statement).await?;
        rows.decode(|row| read_exhausted(row, self.due(row, "due")?))
    }

    /// Deletes jobs that have become dead letters, and identities that are too old to recognise a repeat.
    async fn remove_exhausted_jobs(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let dialect = self.dialect();
        let jobs = format!("DELETE FROM jobs WHERE seq {}", dialect.is_any("$1"));
        let ids = format!("DELETE FROM job_ids WHERE until <= {}", dialect.after("$1"));
        let statements =
            vec![Statement::new(jobs).bind(seqs), Statement::new(ids).bind(Duration::ZERO)];
        self.transaction(Pool::JobSweep, statements).await.map(drop)
    }

    /// How many jobs a queue has, and its oldest job that is waiting or leased.
    async fn job_counts(&self, queue: &str) -> Result<(JobCounts, Option<Bytes>), StoreError> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE due <= t) AS waiting, \
             count(*) FILTER (WHERE due > t AND lease IS NOT NULL) AS leased, \
             count(*) FILTER (WHERE due > t AND lease IS NULL) AS later, \
             min(seq) FILTER (WHERE due <= t OR lease IS NOT NULL) AS oldest \
             FROM jobs, (SELECT {} AS t) AS clock WHERE queue = $2",
            self.dialect().after("$1")
        );
        let statement = Statement::new(sql).bind(Duration::ZERO).bind(queue);
        let rows = self.select(Pool::Jobs, statement).await?;
        let read = rows.first(|row| {
            let (waiting, leased) = (row.seq("waiting")?, row.seq("leased")?);
            let counts = JobCounts { waiting, leased, delayed: row.seq("later")? };
            Ok((counts, row.get::<Option<i64>>("oldest")?))
        })?;
        let (counts, oldest) = read.unwrap_or_default();
        let statement = Statement::new("SELECT body FROM jobs WHERE seq = $1").bind(oldest);
        let body = self.select(Pool::Jobs, statement).await?;
        Ok((counts, body.first(|row| row.get::<Vec<u8>>(0))?.map(Bytes::from)))
    }
}

/// What one statement of [`JobStore::settle_jobs`] settles.
enum Step {
    /// Jobs that are done: the sequence of each, and the index of its settlement.
    Done(Vec<(u64, usize)>),
    /// The settlement at this index.
    Other(usize),
}

/// The statements that settle leases, in order. Jobs of one lease that are done, one after the other, share a
/// statement.
fn steps(settlements: &[(u64, Uuid, JobSettlement)], dialect: Dialect) -> Vec<(Step, Statement)> {
    let mut steps = Vec::new();
    let mut done: Vec<(Uuid, Vec<(u64, usize)>)> = Vec::new();
    for (at, (seq, lease, settlement)) in settlements.iter().enumerate() {
        if *settlement != JobSettlement::Done {
            steps.extend(done.drain(..).map(|jobs| delete_done(jobs, dialect)));
            steps.push((Step::Other(at), settle_one(*seq, *lease, settlement, dialect)));
            continue;
        }
        match done.iter_mut().find(|(known, _)| known == lease) {
            Some((_, jobs)) => jobs.push((*seq, at)),
            None => done.push((*lease, vec![(*seq, at)])),
        }
    }
    steps.extend(done.drain(..).map(|jobs| delete_done(jobs, dialect)));
    steps
}

fn delete_done((lease, jobs): (Uuid, Vec<(u64, usize)>), dialect: Dialect) -> (Step, Statement) {
    let sql = format!(
        "DELETE FROM jobs WHERE seq {} AND lease = $2 AND due > {} AND NOT failed RETURNING seq",
        dialect.is_any("$1"),
        dialect.after("$3")
    );
    // Sorted, so that two transactions with the same jobs do not deadlock.
    let mut seqs: Vec<u64> = jobs.iter().map(|(seq, _)| *seq).collect();
    seqs.sort_unstable();
    let statement = Statement::new(sql).bind(&*seqs).bind(lease).bind(Duration::ZERO);
    (Step::Done(jobs), statement)
}

fn settle_one(seq: u64, lease: Uuid, settlement: &JobSettlement, dialect: Dialect) -> Statement {
    let (set, error, delay) = match settlement {
        JobSettlement::Done => ("", None, Duration::ZERO),
        JobSettlement::Extend(lease_for) => ("", None, *lease_for),
        JobSettlement::Retry { delay, error } => ("lease = NULL", Some(error), *delay),
        JobSettlement::Fail { error } => {
            ("lease = NULL, failed = true", Some(error), Duration::ZERO)
        }
    };
    let set = match error {
        None => String::new(),
        Some(_) => {
            let at = match dialect {
                Dialect::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                Dialect::Sqlite => "$6",
            };
            format!("{set}, attempts = {}, ", attempts::append_sql(at, "$5", dialect))
        }
    };
    let sql = format!(
        "UPDATE jobs SET {set}due = {} WHERE seq = $1 AND lease = $2 AND due > {} AND NOT failed RETURNING due",
        dialect.after("$3"),
        dialect.after("$4"),
    );
    let statement =
        Statement::new(sql).bind(to_db(seq)).bind(lease).bind(delay).bind(Duration::ZERO);
    match error {
        Some(error) => dialect.bind_wall_time(statement.bind(error_text(error))),
        None => statement,
    }
}

fn read_exhausted(row: Row<'_>, due: DateTime<Utc>) -> Result<ExhaustedJob, Error> {
    let attempt = row.number("attempt")?;
    // One job that cannot be decoded must not keep the others from becoming dead letters.
    let mut attempts = attempts::decode(row.get("attempts")?).unwrap_or_default();
    if row.get("ran_out")? {
        let worker: Option<String> = row.get("worker")?;
        let worker = worker.map(|worker| format!(" (worker {worker})")).unwrap_or_default();
        attempts.push(Attempt { attempt, at: due, error: format!("{LEASE_RAN_OUT}{worker}") });
    }
    Ok(ExhaustedJob {
        queue: row.get("queue")?,
        seq: row.seq("seq")?,
        attempt,
        attempts,
        failed: row.get("failed")?,
        body: row.get::<Vec<u8>>("body")?.into(),
    })
}

/// Decodes a job that was just leased.
pub(crate) fn read_leased(row: Row<'_>) -> Result<LeasedRow, Error> {
    Ok(LeasedRow {
        seq: row.seq("seq")?,
        attempt: row.number("attempt")?,
        body: row.get::<Vec<u8>>("body")?.into(),
        trace: row.get::<Option<&[u8]>>("trace")?.and_then(trace::decode),
    })
}
