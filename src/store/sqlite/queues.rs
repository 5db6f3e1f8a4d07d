//! Deletes queues.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Error};
use uuid::Uuid;

use super::SqliteStore;
use super::database::in_turn;
use super::time::StoreTime;
use super::work::NoLock;
use crate::limits::WORK_DELETE_ROWS;
use crate::store::StoreError;
use crate::store::jobs::{QueueDeletion, QueueStore};
use crate::store::sql::limit_to_db;
use crate::store::work::RowLock;

#[async_trait]
impl QueueStore for SqliteStore {
    async fn lock_queue(&self, _: &str) -> Result<Box<dyn RowLock>, StoreError> {
        Ok(Box::new(NoLock))
    }

    async fn delete_queue(
        &self,
        name: &str,
        incarnation: Option<Uuid>,
        force: bool,
    ) -> Result<QueueDeletion, StoreError> {
        // Deletes in parts, so that other writers get their turns.
        while force
            && in_turn!(self, Jobs, connection => delete_some(&self.time, connection, name, incarnation))?
        {
        }
        in_turn!(self, Jobs, connection => delete(&self.time, connection, name, incarnation, force))
    }
}

/// Whether a job of the queue is leased, or waits to become a dead letter.
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

/// Deletes some of the jobs that were never leased, unless a job of the queue is leased. Returns whether there may be
/// more.
async fn delete_some(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    incarnation: Option<Uuid>,
) -> Result<bool, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let here = sqlx::query("SELECT 1 FROM queues WHERE name = ? AND made IS ?");
    let here = here.bind(name).bind(incarnation).fetch_optional(&mut *transaction).await?;
    if here.is_none() || has_leased(time, &mut transaction, name).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    let done = sqlx::query(
        "DELETE FROM jobs WHERE seq IN \
         (SELECT seq FROM jobs WHERE queue = ? AND attempt = 0 LIMIT ?)",
    )
    .bind(name)
    .bind(limit_to_db(WORK_DELETE_ROWS))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done.rows_affected() >= WORK_DELETE_ROWS as u64)
}

/// Deletes a queue and everything except its dead letters.
async fn delete(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    incarnation: Option<Uuid>,
    force: bool,
) -> Result<QueueDeletion, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let leased = has_leased(time, &mut transaction, name).await?;
    let deleted = sqlx::query("DELETE FROM queues WHERE name = ? AND made IS ?")
        .bind(name)
        .bind(incarnation)
        .execute(&mut *transaction)
        .await?;
    if deleted.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(QueueDeletion::Missing);
    }
    let any = sqlx::query("SELECT 1 FROM jobs WHERE queue = ? LIMIT 1").bind(name);
    if leased || (!force && any.fetch_optional(&mut *transaction).await?.is_some()) {
        transaction.rollback().await?;
        return Ok(if leased { QueueDeletion::Leased } else { QueueDeletion::NotEmpty });
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
