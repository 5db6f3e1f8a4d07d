//! The lease and the state of the log, by the store's time. Each function is one statement, and so one
//! transaction.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::connection::bounded;
use super::{SqliteStore, write};
use crate::store::error::StoreError;
use crate::store::log::{Lease, LogState, LogStore, Write, read_lease, read_log_state};

#[async_trait]
impl LogStore for SqliteStore {
    async fn log_state(&self) -> Result<LogState, StoreError> {
        let sql = "SELECT committed_through, bus, stream_epoch, \
                   (SELECT min(seq) FROM messages) AS first_seq FROM log_state";
        let state = sqlx::query(sql).try_map(|row: SqliteRow| read_log_state((&row).into()));
        bounded(state.fetch_one(&self.readers)).await
    }

    async fn claim(
        &self,
        owner: Uuid,
        lease_for: Duration,
        force: bool,
    ) -> Result<Option<Lease>, StoreError> {
        let mut turn = self.writer.turn(&self.options).await?;
        let claim = sqlx::query(
            "UPDATE log_state SET lease_epoch = lease_epoch + ($3 OR lease_owner IS NOT $1), \
             lease_owner = $1, lease_until = $2 \
             WHERE $3 OR lease_owner IS NULL OR lease_owner = $1 OR lease_until < $4 \
             RETURNING lease_epoch, committed_through",
        )
        .bind(owner)
        .bind(self.time.until(lease_for))
        .bind(force)
        .bind(self.time.now())
        .try_map(|row: SqliteRow| read_lease((&row).into(), owner));
        let claimed = bounded(claim.fetch_optional(turn.connection())).await;
        turn.end(claimed)
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let mut turn = self.writer.turn(&self.options).await?;
        let renewal = sqlx::query(
            "UPDATE log_state SET lease_until = $3 WHERE lease_owner = $1 AND lease_epoch = $2",
        )
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(self.time.until(lease_for));
        let renewed = bounded(renewal.execute(turn.connection())).await;
        StoreError::unless_fenced(turn.end(renewed)?.rows_affected() == 1)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut turn = self.writer.turn(&self.options).await?;
        let release = sqlx::query(
            "UPDATE log_state SET lease_owner = NULL, lease_until = 0 \
             WHERE lease_owner = $1 AND lease_epoch = $2",
        )
        .bind(lease.owner)
        .bind(lease.epoch);
        let released = bounded(release.execute(turn.connection())).await;
        turn.end(released).map(|_| ())
    }

    async fn write(&self, lease: &Lease, write: Write<'_>) -> Result<(), StoreError> {
        let mut turn = self.writer.turn(&self.options).await?;
        let moved = bounded(write::write(&self.time, turn.connection(), lease, &write)).await;
        StoreError::unless_fenced(turn.end(moved)?)
    }
}
