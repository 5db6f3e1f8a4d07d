//! Locks on queues, and their deletion.

use async_trait::async_trait;
use sqlx::Error;
use sqlx::postgres::{PgConnection, PgPool};
use uuid::Uuid;

use super::PostgresStore;
use crate::limits::WORK_DELETE_ROWS;
use crate::store::StoreError;
use crate::store::jobs::{QueueDeletion, QueueStore};
use crate::store::sql::limit_to_db;
use crate::store::work::RowLock;

#[async_trait]
impl QueueStore for PostgresStore {
    async fn lock_queue(&self, name: &str) -> Result<Box<dyn RowLock>, StoreError> {
        self.lock_consumers_of(name).await
    }

    async fn delete_queue(
        &self,
        name: &str,
        incarnation: Option<Uuid>,
        force: bool,
    ) -> Result<QueueDeletion, StoreError> {
        // Deletes in parts, so that each statement ends in time.
        while force && self.job_work(delete_some(&self.jobs, name, incarnation)).await? {}
        self.job_work(delete(&self.jobs, name, incarnation, force)).await
    }
}

/// Locks a queue until the transaction ends: shared, to add jobs, or exclusively, to delete the queue. If the
/// names of two queues have the same hash, they wait for each other.
pub(super) async fn lock(
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

/// Deletes some of the jobs that were never leased, unless a job of the queue is leased. Returns whether there may be
/// more.
async fn delete_some(pool: &PgPool, name: &str, incarnation: Option<Uuid>) -> Result<bool, Error> {
    let done = sqlx::query(
        "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE queue = $1 AND attempt = 0 \
         LIMIT $2 FOR UPDATE SKIP LOCKED) AND NOT EXISTS (SELECT 1 FROM jobs \
         WHERE attempt > 0 AND queue = $1 \
         AND (failed OR (lease IS NOT NULL AND due > clock_timestamp()))) \
         AND EXISTS (SELECT 1 FROM queues WHERE name = $1 AND made IS NOT DISTINCT FROM $3)",
    )
    .bind(name)
    .bind(limit_to_db(WORK_DELETE_ROWS))
    .bind(incarnation)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() >= WORK_DELETE_ROWS as u64)
}

/// Deletes a queue and everything except its dead letters. Leasing locks rows, so this finds a job that was
/// leased meanwhile after it has deleted the others, and stops.
async fn delete(
    pool: &PgPool,
    name: &str,
    incarnation: Option<Uuid>,
    force: bool,
) -> Result<QueueDeletion, Error> {
    let mut transaction = pool.begin().await?;
    lock(&mut transaction, name, false).await?;
    let deleted: Option<i64> = sqlx::query_scalar(
        "DELETE FROM queues WHERE name = $1 AND made IS NOT DISTINCT FROM $2 \
         RETURNING max_deliver::bigint",
    )
    .bind(name)
    .bind(incarnation)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(max_deliver) = deleted else {
        transaction.rollback().await?;
        return Ok(QueueDeletion::Missing);
    };
    if force {
        sqlx::query(
            "DELETE FROM jobs WHERE queue = $1 \
             AND NOT (failed OR attempt >= $2 OR (lease IS NOT NULL AND due > clock_timestamp()))",
        )
        .bind(name)
        .bind(max_deliver)
        .execute(&mut *transaction)
        .await?;
    }
    let left: Option<bool> = sqlx::query_scalar(
        "SELECT failed OR attempt >= $2 OR (lease IS NOT NULL AND due > clock_timestamp()) \
         FROM jobs WHERE queue = $1 ORDER BY 1 DESC LIMIT 1",
    )
    .bind(name)
    .bind(max_deliver)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(leased) = left {
        transaction.rollback().await?;
        // With `force`, only a leased job can be left, even if its lease ended just now.
        return Ok(if leased || force { QueueDeletion::Leased } else { QueueDeletion::NotEmpty });
    }
    for statement in
        ["DELETE FROM job_ids WHERE queue = $1", "DELETE FROM job_attempts WHERE queue = $1"]
    {
        sqlx::query(statement).bind(name).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(QueueDeletion::Done)
}
