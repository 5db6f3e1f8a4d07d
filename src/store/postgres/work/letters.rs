//! Dead letters: kept, listed, given back, discarded.

use sqlx::postgres::{PgExecutor, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Error, Row};
use uuid::Uuid;

use super::set_aside::subject;
use crate::limits::MAX_PAGE_BYTES;
use crate::store::sql::unreadable;
use crate::store::sql::{Dialect, from_db, to_db};
use crate::store::work::{DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery, kept};

const BURY: &str = "
WITH told AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bytea[],
        $6::bytea[], $7::text[], $8::text[], $9::timestamptz[])
        AS told(id, kind, source, seq, subject, body, attempts, reason, died_at)
), gone AS (
    DELETE FROM set_aside s USING told
    WHERE told.kind = 'message' AND s.consumer = told.source AND s.seq = told.seq
)
INSERT INTO dead_letters (id, kind, source, seq, subject, body, attempts, reason, died_at)
SELECT * FROM told ON CONFLICT DO NOTHING";

pub(super) async fn bury(
    executor: impl PgExecutor<'_>,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    fn column<'l, T>(letters: &[&'l DeadLetter], of: impl Fn(&'l DeadLetter) -> T) -> Vec<T> {
        letters.iter().map(|letter| of(letter)).collect()
    }
    sqlx::query(BURY)
        .bind(column(letters, |l| l.id))
        .bind(column(letters, |l| l.kind.as_str()))
        .bind(column(letters, |l| &l.source[..]))
        .bind(column(letters, |l| to_db(l.seq)))
        .bind(column(letters, |l| l.subject.as_bytes()))
        .bind(column(letters, |l| &l.body[..]))
        .bind(column(letters, |l| kept::lines(&l.attempts)))
        .bind(column(letters, |l| kept::text(&l.reason)))
        .bind(column(letters, |l| l.died_at))
        .execute(executor)
        .await?;
    Ok(())
}

pub(super) async fn page(pool: &PgPool, query: &DeadLetterQuery) -> Result<DeadLetterPage, Error> {
    let sql = format!(
        "WITH picked AS MATERIALIZED ({}), sized AS (
             SELECT *, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS before,
                 count(*) OVER () AS picked
             FROM picked
         ) SELECT * FROM sized WHERE before < {MAX_PAGE_BYTES} ORDER BY id",
        kept::letters_sql(query, Dialect::Postgres)
    );
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let statement = sqlx::query(AssertSqlSafe(sql))
        .bind(query.after.unwrap_or_default())
        .bind(limit.saturating_add(1));
    let statement = match &query.source {
        Some(source) => statement.bind(source),
        None => statement,
    };
    let rows = statement.fetch_all(pool).await?;
    let picked: i64 = rows.first().map_or(Ok(0), |row| row.try_get("picked"))?;
    let mut letters = rows.iter().map(letter).collect::<Result<Vec<_>, _>>()?;
    letters.truncate(query.limit);
    Ok(DeadLetterPage { more: (letters.len() as u64) < from_db(picked), letters })
}

fn letter(row: &PgRow) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        id: row.try_get("id")?,
        kind: kept::read_kind(row.try_get("kind")?).map_err(unreadable)?,
        source: row.try_get("source")?,
        seq: from_db(row.try_get("seq")?),
        subject: subject(row)?,
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
        attempts: kept::read_lines(row.try_get("attempts")?).map_err(unreadable)?,
        reason: row.try_get("reason")?,
        died_at: row.try_get("died_at")?,
    })
}

pub(super) async fn one(pool: &PgPool, id: Uuid) -> Result<Option<DeadLetter>, Error> {
    let row = sqlx::query("SELECT * FROM dead_letters WHERE id = $1 LIMIT 1")
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(letter).transpose()
}

pub(super) async fn counts(pool: &PgPool) -> Result<Vec<(DeadLetterKind, String, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT what, source, sum(n)::bigint AS n FROM work_counts WHERE what <> 'set_aside' \
         GROUP BY what, source HAVING sum(n) > 0 ORDER BY what, source",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let kind = kept::read_kind(row.try_get("what")?).map_err(unreadable)?;
            Ok((kind, row.try_get("source")?, from_db(row.try_get("n")?)))
        })
        .collect()
}

pub(super) async fn redrive(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let sql = format!(
        "WITH wanted AS MATERIALIZED (
             SELECT d.kind, d.source, d.seq FROM unnest($1::uuid[]) AS told(id)
             JOIN dead_letters d ON d.id = told.id AND d.kind = 'message'
             JOIN consumers c ON c.name = d.source
             ORDER BY d.source, d.seq FOR UPDATE OF d FOR KEY SHARE OF c
         ), gone AS (
             DELETE FROM dead_letters d USING wanted w
             WHERE d.kind = w.kind AND d.source = w.source AND d.seq = w.seq RETURNING d.*
         ), back AS (
             INSERT INTO set_aside (consumer, seq, subject, body, attempt, attempts, due)
             SELECT source, seq, subject, body, 0, {}, clock_timestamp() FROM gone
             ON CONFLICT DO NOTHING
         )
         SELECT id FROM gone",
        kept::last_lines_sql("attempts", Dialect::Postgres)
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(ids).fetch_all(pool).await
}

pub(super) async fn discard(pool: &PgPool, id: Uuid) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM dead_letters WHERE id = $1").bind(id).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}
