//! Messages set aside: added, leased for an attempt, prolonged.
//!
//! Invariant: a row has one `due`: the end of its delay, or of its lease. So what
//! is due is one stretch of one index, and what is leased is never in it.

use std::time::Duration;

use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Error, Row};
use uuid::Uuid;

use crate::limits::LEASE_DUE_BYTES;
use crate::store::postgres::database::interval;
use crate::store::sql::unreadable;
use crate::store::sql::{from_db, to_db};
use crate::store::work::kept::{self, LOST, SPENT};
use crate::store::work::{LeaseTerms, LeasedMessage, SetAside};

/// The lock keeps the consumer from being deleted meanwhile; `FOR KEY SHARE` lets
/// its progress through.
const ADD: &str = "
WITH here AS MATERIALIZED (SELECT name FROM consumers WHERE name = $1 FOR KEY SHARE)
INSERT INTO set_aside (consumer, seq, subject, body, attempt, attempts, due)
SELECT here.name, told.seq, told.subject, told.body, told.attempt, told.attempts,
    clock_timestamp() + told.delay
FROM here, unnest($2::bigint[], $3::bytea[], $4::bytea[], $5::integer[], $6::text[],
    $7::interval[]) AS told(seq, subject, body, attempt, attempts, delay)
ON CONFLICT DO NOTHING";

/// Whoever buried one of them while it was added has committed by now, and a
/// statement of its own sees that.
const UNLESS_DEAD: &str = "
DELETE FROM set_aside s USING unnest($2::bigint[]) AS told(seq)
WHERE s.consumer = $1 AND s.seq = told.seq AND EXISTS (
    SELECT FROM dead_letters d WHERE d.kind = 'message' AND d.source = $1 AND d.seq = told.seq)";

pub(super) async fn add(
    pool: &PgPool,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    keep(&mut transaction, consumer, messages).await?;
    transaction.commit().await
}

/// Keeps those that are no dead letters, in a transaction.
pub(super) async fn keep(
    connection: &mut PgConnection,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let seqs: Vec<i64> = messages.iter().map(|m| to_db(m.seq)).collect();
    let attempt = |m: &&SetAside| i32::try_from(m.attempt).unwrap_or(i32::MAX);
    sqlx::query(ADD)
        .bind(consumer)
        .bind(&seqs[..])
        .bind(messages.iter().map(|m| m.subject.as_bytes()).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| &m.body[..]).collect::<Vec<_>>())
        .bind(messages.iter().map(attempt).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| kept::lines(&m.attempts)).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| interval(m.delay)).collect::<Vec<PgInterval>>())
        .execute(&mut *connection)
        .await?;
    sqlx::query(UNLESS_DEAD).bind(consumer).bind(seqs).execute(connection).await?;
    Ok(())
}

/// `clock_timestamp()` once, as a value: called for each row it could not bound the index.
fn lease_sql() -> String {
    let lost = kept::lost_line_sql("(extract(epoch FROM s.due) * 1000000)::bigint", "chr(10)");
    format!(
        "WITH due AS MATERIALIZED (
            SELECT seq, attempt, due, octet_length(body) AS size FROM set_aside
            WHERE consumer = $1 AND due <= (SELECT clock_timestamp()) ORDER BY due, seq LIMIT $2
            FOR UPDATE SKIP LOCKED
        ), picked AS MATERIALIZED (
            SELECT seq, attempt >= $3 AS spent, row_number() OVER (ORDER BY due, seq) AS place,
                sum(size) OVER (ORDER BY due, seq) - size AS before
            FROM due
        ), dying AS (
            DELETE FROM set_aside s USING picked p
            WHERE s.consumer = $1 AND s.seq = p.seq AND p.spent
            RETURNING s.*, p.place
        ), buried AS (
            INSERT INTO dead_letters (id, kind, source, seq, subject, body, attempts, reason, died_at)
            SELECT ($4::uuid[])[s.place], 'message', s.consumer, s.seq, s.subject, s.body,
                s.attempts || CASE WHEN s.lease IS NULL THEN '' ELSE {lost} END,
                CASE WHEN s.lease IS NULL THEN '{SPENT}' ELSE '{LOST}' END, clock_timestamp()
            FROM dying s ON CONFLICT DO NOTHING
        )
        UPDATE set_aside s SET lease = $5, due = clock_timestamp() + $6, attempt = s.attempt + 1,
            attempts = s.attempts || CASE WHEN s.lease IS NULL THEN '' ELSE {lost} END
        FROM picked p
        WHERE s.consumer = $1 AND s.seq = p.seq AND NOT p.spent AND p.before < $7
        RETURNING s.seq, s.subject, s.body, s.attempt, s.attempts, p.place"
    )
}

pub(super) async fn lease(
    connection: &mut PgConnection,
    consumer: &str,
    LeaseTerms { lease, limit, max_deliver, lease_for }: LeaseTerms,
) -> Result<Vec<LeasedMessage>, Error> {
    let letters: Vec<Uuid> = (0..limit).map(|_| Uuid::now_v7()).collect();
    let mut rows = sqlx::query(AssertSqlSafe(lease_sql()))
        .bind(consumer)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(i32::try_from(max_deliver).unwrap_or(i32::MAX))
        .bind(letters)
        .bind(lease)
        .bind(interval(lease_for))
        .bind(to_db(LEASE_DUE_BYTES))
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| Ok((row.try_get::<i64, _>("place")?, leased(row, lease)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    rows.sort_unstable_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, leased)| leased).collect())
}

/// Gives back leases that nobody heard of: no attempt is counted.
pub(super) async fn give_back(pool: &PgPool, consumer: &str, leases: &[Uuid]) -> Result<(), Error> {
    sqlx::query(
        "UPDATE set_aside SET lease = NULL, due = clock_timestamp(), attempt = attempt - 1 \
         WHERE consumer = $1 AND lease = ANY($2)",
    )
    .bind(consumer)
    .bind(leases)
    .execute(pool)
    .await?;
    Ok(())
}

fn leased(row: &PgRow, lease: Uuid) -> Result<LeasedMessage, Error> {
    Ok(LeasedMessage {
        seq: from_db(row.try_get("seq")?),
        subject: subject(row)?,
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
        attempt: u32::try_from(row.try_get::<i32, _>("attempt")?).unwrap_or_default(),
        attempts: kept::read_lines(row.try_get("attempts")?).map_err(unreadable)?,
        lease,
    })
}

/// A subject, which was text when it was written.
pub(super) fn subject(row: &PgRow) -> Result<String, Error> {
    String::from_utf8(row.try_get("subject")?).map_err(unreadable)
}

pub(super) async fn next_due(pool: &PgPool, consumer: &str) -> Result<Option<Duration>, Error> {
    let micros: Option<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM due - clock_timestamp()) * 1000000)::bigint FROM set_aside \
         WHERE consumer = $1 ORDER BY due, seq LIMIT 1",
    )
    .bind(consumer)
    .fetch_optional(pool)
    .await?;
    Ok(micros.map(|micros| Duration::from_micros(from_db(micros))))
}

/// Skips what is being settled, so that neither waits for the other.
pub(super) async fn extend_leases(
    pool: &PgPool,
    consumer: &str,
    leases: &[(u64, Uuid)],
    lease_for: Duration,
) -> Result<(), Error> {
    sqlx::query(
        "WITH held AS MATERIALIZED (
             SELECT s.seq FROM unnest($2::bigint[], $3::uuid[]) AS told(seq, lease)
             JOIN set_aside s ON s.consumer = $1 AND s.seq = told.seq
                 AND ((s.lease = told.lease) IS TRUE)
             FOR UPDATE OF s SKIP LOCKED
         )
         UPDATE set_aside s SET due = clock_timestamp() + $4 FROM held
         WHERE s.consumer = $1 AND s.seq = held.seq",
    )
    .bind(consumer)
    .bind(leases.iter().map(|(seq, _)| to_db(*seq)).collect::<Vec<_>>())
    .bind(leases.iter().map(|(_, lease)| *lease).collect::<Vec<_>>())
    .bind(interval(lease_for))
    .execute(pool)
    .await?;
    Ok(())
}
