//! Failed attempts at jobs in JetStream, recorded for their dead letters.

use std::time::Duration;

use async_trait::async_trait;

use super::queues::count;
use crate::store::error::StoreError;
use crate::store::sql::{
    Database, Dialect, Pool, Statement, insert_parts, limit_to_db, small, to_db,
};
use crate::store::work::Attempt;
use crate::store::work::attempts::error_text;

/// A failed attempt at a job in JetStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAttempt {
    /// The job's sequence in its stream.
    pub seq: u64,
    /// The attempt: its number, time and error.
    pub attempt: Attempt,
    /// Time from now until the job may be leased again, or until its lease ends.
    pub delay: Duration,
    /// Whether this is only assumed (the lease ran out) until a worker reports otherwise. A worker's report
    /// replaces an assumption, and is never replaced by one.
    pub guess: bool,
}

/// The part of a store that holds failed attempts at jobs in JetStream.
#[async_trait]
pub trait RecordedAttemptStore: Database {
    /// Records attempts; see [`RecordedAttempt::guess`].
    async fn record_attempts(
        &self,
        queue: &str,
        attempts: &[RecordedAttempt],
    ) -> Result<(), StoreError> {
        let insert = |part: &[RecordedAttempt]| {
            let sql = insert_sql(self.dialect(), part.len());
            part.iter().fold(Statement::new(sql).bind(queue), |statement, one| {
                statement
                    .bind(to_db(one.seq))
                    .bind(i64::from(small(one.attempt.attempt)))
                    .bind(one.attempt.at)
                    .bind(error_text(&one.attempt.error))
                    .bind(one.delay)
                    .bind(one.guess)
            })
        };
        self.transaction(Pool::Jobs, insert_parts(attempts).map(insert).collect()).await.map(drop)
    }

    /// The recorded attempts of a job.
    async fn recorded_attempts(&self, queue: &str, seq: u64) -> Result<Vec<Attempt>, StoreError> {
        let statement = Statement::new(
            "SELECT attempt, at, error FROM job_attempts WHERE queue = $1 AND seq = $2 ORDER BY attempt",
        );
        let statement = statement.bind(queue).bind(to_db(seq));
        self.select(Pool::Jobs, statement).await?.decode(|row| {
            let (attempt, at) = (row.number("attempt")?, row.time_set("at")?);
            Ok(Attempt { attempt, at, error: row.get("error")? })
        })
    }

    /// Deletes the recorded attempts of jobs that are done.
    async fn delete_attempts(&self, queue: &str, seqs: &[u64]) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM job_attempts WHERE queue = $1 AND seq {}",
            self.dialect().is_any("$2")
        );
        self.execute(Pool::Jobs, Statement::new(sql).bind(queue).bind(seqs)).await.map(drop)
    }

    /// Queue and sequence of jobs whose last recorded attempt has ended and was the last that the queue
    /// allows.
    async fn exhausted_records(&self, limit: usize) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = format!(
            "SELECT queue, seq FROM job_attempts JOIN queues ON name = queue GROUP BY queue, seq \
             HAVING max(attempt) >= max(max_deliver) AND max(due) <= {} ORDER BY max(due) LIMIT $2",
            self.dialect().after("$1")
        );
        let statement = Statement::new(sql).bind(Duration::ZERO).bind(limit_to_db(limit));
        let rows = self.select(Pool::Jobs, statement).await?;
        rows.decode(|row| Ok((row.get("queue")?, row.seq("seq")?)))
    }

    /// How many jobs of a queue are not due yet because a worker reported a delay.
    async fn recorded_delays(&self, queue: &str) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT count(*) FROM job_attempts last WHERE queue = $1 AND due > {} AND NOT guess \
             AND NOT EXISTS (SELECT 1 FROM job_attempts later WHERE later.queue = last.queue \
             AND later.seq = last.seq AND later.attempt > last.attempt)",
            self.dialect().after("$2")
        );
        count(self, Statement::new(sql).bind(queue).bind(Duration::ZERO)).await
    }
}

impl<T: Database> RecordedAttemptStore for T {}

/// The statement that records this many attempts.
fn insert_sql(dialect: Dialect, rows: usize) -> String {
    let values = (0..rows).map(|at| {
        let n = |column: usize| 6 * at + column + 2;
        let due = dialect.after(&format!("${}", n(4)));
        format!("($1, ${}, ${}, ${}, ${}, {due}, ${})", n(0), n(1), n(2), n(3), n(5))
    });
    format!(
        "INSERT INTO job_attempts (queue, seq, attempt, at, error, due, guess) VALUES {} \
         ON CONFLICT (queue, seq, attempt) DO UPDATE SET at = excluded.at, error = excluded.error, \
         due = excluded.due, guess = excluded.guess WHERE job_attempts.guess OR NOT excluded.guess",
        values.collect::<Vec<_>>().join(", ")
    )
}
