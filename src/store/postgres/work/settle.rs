//! Verdicts on leases.
//!
//! Invariant: what dies is a dead letter in the statement that takes it away.

use sqlx::Error;
use sqlx::postgres::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::store::postgres::database::interval;
use crate::store::sql::to_db;
use crate::store::work::LeaseOutcome;
use crate::store::work::kept::SettledRow;

/// `held` locks in order of sequence, since others may want the same rows. The
/// lease is tested in a way that no index answers: many rows share one.
const SETTLE: &str = "
WITH held AS MATERIALIZED (
    SELECT told.* FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::interval[],
        $7::text[], $8::uuid[]) AS told(seq, lease, verdict, line, delay, reason, letter)
    JOIN set_aside s ON s.consumer = $1 AND s.seq = told.seq AND ((s.lease = told.lease) IS TRUE)
    ORDER BY told.seq FOR UPDATE OF s
), gone AS (
    DELETE FROM set_aside s USING held
    WHERE s.consumer = $1 AND s.seq = held.seq AND held.verdict IN ('done', 'dead')
    RETURNING s.*, held.verdict, held.line, held.reason, held.letter
), buried AS (
    INSERT INTO dead_letters (id, kind, source, seq, subject, body, attempts, reason, died_at)
    SELECT letter, 'message', consumer, seq, subject, body, attempts || line, reason,
        clock_timestamp()
    FROM gone WHERE verdict = 'dead' ON CONFLICT DO NOTHING
)
UPDATE set_aside s SET lease = NULL, due = clock_timestamp() + held.delay,
    attempt = s.attempt - (held.verdict = 'returned')::integer, attempts = s.attempts || held.line
FROM held
WHERE s.consumer = $1 AND s.seq = held.seq AND held.verdict IN ('again', 'returned')";

pub(super) async fn settle(
    pool: &PgPool,
    consumer: &str,
    settled: &[LeaseOutcome],
) -> Result<(), Error> {
    let told: Vec<SettledRow> = settled.iter().map(SettledRow::of).collect();
    sqlx::query(SETTLE)
        .bind(consumer)
        .bind(settled.iter().map(|one| to_db(one.seq)).collect::<Vec<_>>())
        .bind(settled.iter().map(|one| one.lease).collect::<Vec<_>>())
        .bind(told.iter().map(|told| told.verdict).collect::<Vec<_>>())
        .bind(told.iter().map(|told| &told.line[..]).collect::<Vec<_>>())
        .bind(told.iter().map(|told| interval(told.delay)).collect::<Vec<PgInterval>>())
        .bind(told.iter().map(|told| &told.reason[..]).collect::<Vec<_>>())
        .bind(told.iter().map(|told| told.letter).collect::<Vec<Option<Uuid>>>())
        .execute(pool)
        .await?;
    Ok(())
}
