//! The lease and the log's state: one row, moved by compare-and-set, by the
//! database's clock (`clock_timestamp()`: `now()` stands still while a statement
//! waits for the row).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, Error, Row};
use uuid::Uuid;

use crate::limits::{PARTITION_SEQS, TIME_INDEX_WIDE_SEQS};
use crate::store::plan::{from_db, to_db};
use crate::store::{BusKind, Lease, LogState, StoreError};

/// No row moved: the lease is another's.
pub(super) fn unless_fenced(moved: bool) -> Result<(), StoreError> {
    if moved { Ok(()) } else { Err(StoreError::Fenced) }
}

/// A duration as PostgreSQL takes it; a lease of centuries is cut to one.
pub(super) fn interval(duration: Duration) -> PgInterval {
    let century = Duration::from_secs(100 * 365 * 86_400);
    let microseconds = i64::try_from(duration.min(century).as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// The state of the log. The lowest row is looked for in one partition, as a constant:
/// PostgreSQL locks and opens each one that a statement might touch, however old the
/// log has grown. Where it is, `lowest` remembers; the time index knows.
pub(super) async fn log_state(pool: &PgPool, lowest: &AtomicI64) -> Result<LogState, Error> {
    const { assert!(PARTITION_SEQS == TIME_INDEX_WIDE_SEQS, "a wide row is a partition") };
    let width = to_db(TIME_INDEX_WIDE_SEQS);
    loop {
        let bucket = lowest.load(Ordering::Relaxed);
        let (from, to) = (bucket * width, (bucket + 1) * width);
        let sql = format!(
            "SELECT committed_through, bus, stream_epoch, \
             (SELECT min(bucket) FROM time_index WHERE width = {width}) AS bucket, \
             (SELECT seq FROM messages WHERE seq >= {from} AND seq < {to} ORDER BY seq LIMIT 1) \
             AS first_seq FROM log_state"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(pool).await?;
        let first_seq: Option<i64> = row.try_get("first_seq")?;
        let held: Option<i64> = row.try_get("bucket")?;
        if let Some(held) = held.filter(|held| *held != bucket) {
            lowest.store(held, Ordering::Relaxed);
            continue;
        }
        let bus: Option<String> = row.try_get("bus")?;
        return Ok(LogState {
            committed_through: from_db(row.try_get("committed_through")?),
            first_seq: first_seq.map(from_db),
            bus: bus.and_then(|name| BusKind::from_name(&name)),
            stream_epoch: row.try_get("stream_epoch")?,
        });
    }
}

pub(super) async fn set_log(
    pool: &PgPool,
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
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Free is also a lease that ends later than any could that is given now: the clock was set back, and
/// it would bar everybody until then.
pub(super) async fn claim(
    pool: &PgPool,
    owner: Uuid,
    lease_for: Duration,
    force: bool,
) -> Result<Option<Lease>, Error> {
    let row = sqlx::query(
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
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Lease {
        owner,
        epoch: row.try_get("lease_epoch")?,
        committed_through: from_db(row.try_get("committed_through")?),
    }))
}

pub(super) async fn leads(pool: &PgPool, lease: &Lease) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM log_state WHERE lease_owner = $1 AND lease_epoch = $2)";
    sqlx::query_scalar(sql).bind(lease.owner).bind(lease.epoch).fetch_one(pool).await
}

pub(super) async fn renew(
    pool: &PgPool,
    lease: &Lease,
    lease_for: Duration,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE log_state SET lease_until = clock_timestamp() + $3 \
         WHERE lease_owner = $1 AND lease_epoch = $2",
    )
    .bind(lease.owner)
    .bind(lease.epoch)
    .bind(interval(lease_for))
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn release(pool: &PgPool, lease: &Lease) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE log_state SET lease_owner = NULL, lease_until = '-infinity' \
         WHERE lease_owner = $1 AND lease_epoch = $2",
    )
    .bind(lease.owner)
    .bind(lease.epoch)
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
