//! The lease and the log's state, by the store's time. Each function is one statement, so one
//! transaction.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Error, Row};
use uuid::Uuid;

use super::time::StoreTime;
use crate::store::plan::from_db;
use crate::store::{BusKind, Lease, LogState};

pub(super) async fn log_state(pool: &SqlitePool) -> Result<LogState, Error> {
    let row = sqlx::query(
        "SELECT committed_through, bus, stream_epoch, \
         (SELECT min(seq) FROM messages) AS first_seq FROM log_state",
    )
    .fetch_one(pool)
    .await?;
    Ok(LogState {
        committed_through: from_db(row.try_get("committed_through")?),
        first_seq: row.try_get::<Option<i64>, _>("first_seq")?.map(from_db),
        bus: row.try_get::<Option<String>, _>("bus")?.and_then(|name| BusKind::from_name(&name)),
        stream_epoch: row.try_get("stream_epoch")?,
    })
}

pub(super) async fn set_log(
    connection: &mut SqliteConnection,
    lease: &Lease,
    bus: BusKind,
    epoch: Option<Uuid>,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE log_state SET bus = $3, stream_epoch = $4 \
         WHERE lease_owner = $1 AND lease_epoch = $2",
    )
    .bind(lease.owner)
    .bind(lease.epoch)
    .bind(bus.as_str())
    .bind(epoch)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn claim(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    owner: Uuid,
    lease_for: Duration,
    force: bool,
) -> Result<Option<Lease>, Error> {
    let row = sqlx::query(
        "UPDATE log_state SET lease_epoch = lease_epoch + ($3 OR lease_owner IS NOT $1), \
         lease_owner = $1, lease_until = $2 \
         WHERE $3 OR lease_owner IS NULL OR lease_owner = $1 OR lease_until < $4 \
         RETURNING lease_epoch, committed_through",
    )
    .bind(owner)
    .bind(time.until(lease_for))
    .bind(force)
    .bind(time.now())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Lease {
        owner,
        epoch: row.try_get("lease_epoch")?,
        committed_through: from_db(row.try_get("committed_through")?),
    }))
}

pub(super) async fn leads(pool: &SqlitePool, lease: &Lease) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM log_state WHERE lease_owner = $1 AND lease_epoch = $2)";
    sqlx::query_scalar(sql).bind(lease.owner).bind(lease.epoch).fetch_one(pool).await
}

pub(super) async fn renew(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    lease: &Lease,
    lease_for: Duration,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE log_state SET lease_until = $3 WHERE lease_owner = $1 AND lease_epoch = $2",
    )
    .bind(lease.owner)
    .bind(lease.epoch)
    .bind(time.until(lease_for))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn release(
    connection: &mut SqliteConnection,
    lease: &Lease,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE log_state SET lease_owner = NULL, lease_until = 0 \
         WHERE lease_owner = $1 AND lease_epoch = $2",
    )
    .bind(lease.owner)
    .bind(lease.epoch)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
