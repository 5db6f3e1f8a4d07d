//! The lease and the state of the log: one row, changed by compare-and-set. Times are by the database's clock
//! (`clock_timestamp()`, since `now()` stands still while a statement waits for the row).

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::connection::{self, Role, bounded};
use super::database::interval;
use super::{PostgresStore, write};
use crate::limits::{PARTITION_SEQS, STORE_WRITE_TIMEOUT, TIME_INDEX_WIDE_SEQS};
use crate::store::error::StoreError;
use crate::store::log::{Lease, LogState, LogStore, Write, read_lease, read_log_state};
use crate::store::sql::{Pool, to_db};

#[async_trait]
impl LogStore for PostgresStore {
    /// Looks for the lowest row in one partition only, and names it as a constant: PostgreSQL locks and opens
    /// each partition that a statement might touch, however many there are. The time index shows which
    /// partition it is, and `self.lowest` remembers it.
    async fn log_state(&self) -> Result<LogState, StoreError> {
        const { assert!(PARTITION_SEQS == TIME_INDEX_WIDE_SEQS, "a wide row is a partition") };
        let width = to_db(TIME_INDEX_WIDE_SEQS);
        self.run(Pool::Control, async || loop {
            let bucket = self.lowest.load(Ordering::Relaxed);
            let (from, to) = (bucket * width, (bucket + 1) * width);
            let sql = format!(
                "SELECT committed_through, bus, stream_epoch, \
                 (SELECT min(bucket) FROM time_index WHERE width = {width}) AS bucket, \
                 (SELECT seq FROM messages WHERE seq >= {from} AND seq < {to} ORDER BY seq LIMIT 1) \
                 AS first_seq FROM log_state"
            );
            let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.controls).await?;
            let lowest: Option<i64> = row.try_get("bucket")?;
            match lowest.filter(|lowest| *lowest != bucket) {
                Some(lowest) => self.lowest.store(lowest, Ordering::Relaxed),
                None => return read_log_state((&row).into()),
            }
        })
        .await
    }

    /// A lease that ends later than any that could be granted now counts as free. The clock was set back, and
    /// otherwise no process could claim the lease until then.
    async fn claim(
        &self,
        owner: Uuid,
        lease_for: Duration,
        force: bool,
    ) -> Result<Option<Lease>, StoreError> {
        let claimed = self.run(Pool::Control, || {
            sqlx::query(
                "UPDATE log_state SET \
                 lease_epoch = lease_epoch + CASE WHEN $3 OR lease_owner IS DISTINCT FROM $1 THEN 1 ELSE 0 END, \
                 lease_owner = $1, lease_until = clock_timestamp() + $2 \
                 WHERE $3 OR lease_owner IS NULL OR lease_owner = $1 OR lease_until < clock_timestamp() \
                 OR lease_until > clock_timestamp() + 2 * $2 \
                 RETURNING lease_epoch, committed_through",
            )
            .bind(owner)
            .bind(interval(lease_for))
            .bind(force)
            .try_map(|row: PgRow| read_lease((&row).into(), owner))
            .fetch_optional(&self.controls)
        });
        claimed.await
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let renewed = self.run(Pool::Control, || {
            sqlx::query(
                "UPDATE log_state SET lease_until = clock_timestamp() + $3 \
                 WHERE lease_owner = $1 AND lease_epoch = $2",
            )
            .bind(lease.owner)
            .bind(lease.epoch)
            .bind(interval(lease_for))
            .execute(&self.controls)
        });
        StoreError::unless_fenced(renewed.await?.rows_affected() == 1)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let released = self.run(Pool::Control, || {
            sqlx::query(
                "UPDATE log_state SET lease_owner = NULL, lease_until = '-infinity' \
                 WHERE lease_owner = $1 AND lease_epoch = $2",
            )
            .bind(lease.owner)
            .bind(lease.epoch)
            .execute(&self.controls)
        });
        released.await.map(|_| ())
    }

    async fn write(&self, lease: &Lease, write: Write<'_>) -> Result<(), StoreError> {
        self.partitions.ensure(&self.controls, &write).await?;
        let mut slot = self.writer.lock().await;
        // The connection is out of its slot while in use: a write that is dropped half-way drops the
        // connection too, and the database rolls back.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => connection::open(&self.options, Role::Write).await?,
        };
        let moved =
            bounded(STORE_WRITE_TIMEOUT, write::write(&mut connection, lease, &write)).await;
        if matches!(moved, Ok(_) | Err(StoreError::Refused(_))) {
            *slot = Some(connection);
        }
        if moved.is_err() {
            self.partitions.forget();
        }
        StoreError::unless_fenced(moved?)
    }
}
