//! Messages set aside: added, leased for an attempt, released, their leases extended.
//!
//! Invariant: a row has one column `due`, the end of its delay or of its lease. So the due rows are one range
//! of one index, and a row whose lease runs is never among them.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, Error, Row as _};
use uuid::Uuid;

use super::settle;
use crate::limits::LEASE_DUE_BYTES;
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::database::interval;
use crate::store::sql::{Pool, limit_to_db, small, to_db};
use crate::store::work::attempts::{self, EXHAUSTED, LOST};
use crate::store::work::chunks::chunks;
use crate::store::work::set_aside::{LeaseTerms, read_leased};
use crate::store::work::{LeaseOutcome, LeasedMessage, SetAside, SetAsideStore};

/// The lock keeps the consumer from being deleted meanwhile. `FOR KEY SHARE` does not block updates of its
/// progress.
const ADD: &str = "
WITH here AS MATERIALIZED (SELECT name FROM consumers WHERE name = $1 FOR KEY SHARE)
INSERT INTO set_aside (consumer, seq, subject, body, attempt, attempts, due)
SELECT here.name, new.seq, new.subject, new.body, new.attempt, new.attempts,
    clock_timestamp() + new.delay
FROM here, unnest($2::bigint[], $3::bytea[], $4::bytea[], $5::integer[], $6::text[],
    $7::interval[]) AS new(seq, subject, body, attempt, attempts, delay)
ON CONFLICT DO NOTHING";

/// Deletes messages that another transaction made dead letters meanwhile. That transaction has committed by
/// now, so a separate statement sees its rows.
const UNLESS_DEAD: &str = "
DELETE FROM set_aside s USING unnest($2::bigint[]) AS new(seq)
WHERE s.consumer = $1 AND s.seq = new.seq AND EXISTS (
    SELECT FROM dead_letters d WHERE d.kind = 'message' AND d.source = $1 AND d.seq = new.seq)";

/// Sets messages aside, except those that are dead letters.
pub(super) async fn insert(
    connection: &mut PgConnection,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let seqs: Vec<i64> = messages.iter().map(|m| to_db(m.seq)).collect();
    sqlx::query(ADD)
        .bind(consumer)
        .bind(&seqs[..])
        .bind(messages.iter().map(|m| m.subject.as_bytes()).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| &m.body[..]).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| small(m.attempt)).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| attempts::lines(&m.attempts)).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| interval(m.delay)).collect::<Vec<PgInterval>>())
        .execute(&mut *connection)
        .await?;
    sqlx::query(UNLESS_DEAD).bind(consumer).bind(seqs).execute(connection).await?;
    Ok(())
}

/// `clock_timestamp()` is in a subquery, so that it is evaluated once. Evaluated for each row, it could not
/// bound the index.
fn lease_sql() -> String {
    let lost = attempts::lost_line_sql("(extract(epoch FROM s.due) * 1000000)::bigint", "chr(10)");
    format!(
        "WITH due AS MATERIALIZED (
            SELECT seq, attempt, due, octet_length(body) AS size FROM set_aside
            WHERE consumer = $1 AND due <= (SELECT clock_timestamp()) ORDER BY due, seq LIMIT $2
            FOR UPDATE SKIP LOCKED
        ), picked AS MATERIALIZED (
            SELECT seq, attempt >= $3 AS exhausted, row_number() OVER (ORDER BY due, seq) AS nth,
                sum(size) OVER (ORDER BY due, seq) - size AS before
            FROM due
        ), given_up AS (
            DELETE FROM set_aside s USING picked p
            WHERE s.consumer = $1 AND s.seq = p.seq AND p.exhausted
            RETURNING s.*, p.nth
        ), dead AS (
            INSERT INTO dead_letters (id, kind, source, seq, subject, body, attempts, reason, died_at)
            SELECT ($4::uuid[])[s.nth], 'message', s.consumer, s.seq, s.subject, s.body,
                s.attempts || CASE WHEN s.lease IS NULL THEN '' ELSE {lost} END,
                CASE WHEN s.lease IS NULL THEN '{EXHAUSTED}' ELSE '{LOST}' END, clock_timestamp()
            FROM given_up s ON CONFLICT DO NOTHING
        )
        UPDATE set_aside s SET lease = $5, due = clock_timestamp() + $6, attempt = s.attempt + 1,
            attempts = s.attempts || CASE WHEN s.lease IS NULL THEN '' ELSE {lost} END
        FROM picked p
        WHERE s.consumer = $1 AND s.seq = p.seq AND NOT p.exhausted AND p.before < $7
        RETURNING s.seq, s.subject, s.body, s.attempt, s.attempts, p.nth"
    )
}

async fn lease(
    connection: &mut PgConnection,
    consumer: &str,
    LeaseTerms { lease, limit, max_deliver, lease_for }: LeaseTerms,
) -> Result<Vec<LeasedMessage>, Error> {
    let letters: Vec<Uuid> = (0..limit).map(|_| Uuid::now_v7()).collect();
    let mut rows = sqlx::query(AssertSqlSafe(lease_sql()))
        .bind(consumer)
        .bind(limit_to_db(limit))
        .bind(small(max_deliver))
        .bind(letters)
        .bind(lease)
        .bind(interval(lease_for))
        .bind(to_db(LEASE_DUE_BYTES))
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| Ok((row.try_get::<i64, _>("nth")?, read_leased(row.into(), lease)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    rows.sort_unstable_by_key(|(nth, _)| *nth);
    Ok(rows.into_iter().map(|(_, leased)| leased).collect())
}

/// Skips leases that are being settled, so that neither transaction waits for the other.
const EXTEND: &str = "
WITH held AS MATERIALIZED (
    SELECT s.seq FROM unnest($2::bigint[], $3::uuid[]) AS mine(seq, lease)
    JOIN set_aside s ON s.consumer = $1 AND s.seq = mine.seq AND ((s.lease = mine.lease) IS TRUE)
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE set_aside s SET due = clock_timestamp() + $4 FROM held
WHERE s.consumer = $1 AND s.seq = held.seq";

#[async_trait]
impl SetAsideStore for PostgresStore {
    async fn set_aside(&self, consumer: &str, messages: &[SetAside]) -> Result<(), StoreError> {
        for chunk in chunks(messages) {
            self.run(Pool::Workers, async || {
                let mut transaction = self.workers.begin().await?;
                insert(&mut transaction, consumer, &chunk).await?;
                transaction.commit().await
            })
            .await?;
        }
        Ok(())
    }

    async fn lease_due(
        &self,
        consumer: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        self.release_unconfirmed(consumer).await?;
        self.run(Pool::Workers, async || {
            let mut connection = self.workers.acquire().await?;
            let id = Uuid::new_v4();
            let pending = self.unconfirmed.request(consumer, id, lease_for);
            let terms = LeaseTerms { lease: id, limit, max_deliver, lease_for };
            let leased = lease(&mut connection, consumer, terms).await?;
            pending.confirm();
            Ok(leased)
        })
        .await
    }

    async fn extend_leases(
        &self,
        consumer: &str,
        leases: &[(u64, Uuid)],
        lease_for: Duration,
    ) -> Result<(), StoreError> {
        let extend = || {
            sqlx::query(EXTEND)
                .bind(consumer)
                .bind(leases.iter().map(|(seq, _)| to_db(*seq)).collect::<Vec<_>>())
                .bind(leases.iter().map(|(_, lease)| *lease).collect::<Vec<_>>())
                .bind(interval(lease_for))
                .execute(&self.workers)
        };
        self.run(Pool::Workers, extend).await.map(drop)
    }

    async fn settle(&self, consumer: &str, settled: &[LeaseOutcome]) -> Result<(), StoreError> {
        self.run(Pool::Workers, || settle::settle(&self.workers, consumer, settled)).await
    }
}

impl PostgresStore {
    /// Releases the unconfirmed leases of a consumer, so that their attempts do not count.
    async fn release_unconfirmed(&self, consumer: &str) -> Result<(), StoreError> {
        let leases = self.unconfirmed.of(consumer);
        if leases.is_empty() {
            return Ok(());
        }
        let release = || {
            sqlx::query(
                "UPDATE set_aside SET lease = NULL, due = clock_timestamp(), attempt = attempt - 1 \
                 WHERE consumer = $1 AND lease = ANY($2)",
            )
            .bind(consumer)
            .bind(&leases)
            .execute(&self.workers)
        };
        self.run(Pool::Workers, release).await.map(drop)
    }

    /// Releases the unconfirmed leases of all consumers, at the end of the process. A lease that cannot be
    /// released runs out.
    pub(crate) async fn release_all_unconfirmed(&self) {
        for consumer in self.unconfirmed.consumers() {
            if let Err(error) = self.release_unconfirmed(&consumer).await {
                tracing::debug!(%error, consumer, "unconfirmed leases were not released; they will run out");
            }
        }
    }
}
