//! Writes the outcomes of leases.
//!
//! Invariant: the statement that removes a message that is given up also stores its dead letter.

use sqlx::Error;
use sqlx::postgres::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::store::postgres::database::interval;
use crate::store::sql::to_db;
use crate::store::work::LeaseOutcome;
use crate::store::work::set_aside::SettledRow;

/// `held` locks in order of sequence, since other transactions may want the same rows. `IS TRUE` keeps the
/// planner from using the index on leases, since many rows share a lease.
const SETTLE: &str = "
WITH held AS MATERIALIZED (
    SELECT mine.* FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::interval[],
        $7::text[], $8::uuid[]) AS mine(seq, lease, outcome, line, delay, reason, letter)
    JOIN set_aside s ON s.consumer = $1 AND s.seq = mine.seq AND ((s.lease = mine.lease) IS TRUE)
    ORDER BY mine.seq FOR UPDATE OF s
), removed AS (
    DELETE FROM set_aside s USING held
    WHERE s.consumer = $1 AND s.seq = held.seq AND held.outcome IN ('done', 'dead')
    RETURNING s.*, held.outcome, held.line, held.reason, held.letter
), dead AS (
    INSERT INTO dead_letters (id, kind, source, seq, subject, body, attempts, reason, died_at)
    SELECT letter, 'message', consumer, seq, subject, body, attempts || line, reason,
        clock_timestamp()
    FROM removed WHERE outcome = 'dead' ON CONFLICT DO NOTHING
)
UPDATE set_aside s SET lease = NULL, due = clock_timestamp() + held.delay,
    attempt = s.attempt - (held.outcome = 'returned')::integer, attempts = s.attempts || held.line
FROM held
WHERE s.consumer = $1 AND s.seq = held.seq AND held.outcome IN ('again', 'returned')";

pub(super) async fn settle(
    pool: &PgPool,
    consumer: &str,
    settled: &[LeaseOutcome],
) -> Result<(), Error> {
    let rows: Vec<SettledRow> = settled.iter().map(SettledRow::of).collect();
    sqlx::query(SETTLE)
        .bind(consumer)
        .bind(settled.iter().map(|one| to_db(one.seq)).collect::<Vec<_>>())
        .bind(settled.iter().map(|one| one.lease).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.outcome).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.line[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| interval(row.delay)).collect::<Vec<PgInterval>>())
        .bind(rows.iter().map(|row| &row.reason[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.letter).collect::<Vec<Option<Uuid>>>())
        .execute(pool)
        .await?;
    Ok(())
}
