//! Stores, lists and redrives dead letters.

use async_trait::async_trait;
use sqlx::Error;
use sqlx::postgres::PgExecutor;
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use crate::limits::MAX_PAGE_BYTES;
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use crate::store::sql::{Dialect, Pool, from_db, limit_to_db, to_db};
use crate::store::work::attempts::{self, error_text};
use crate::store::work::chunks::chunks;
use crate::store::work::dead_letters::{page_sql, read_dead_letter};
use crate::store::work::{DeadLetter, DeadLetterPage, DeadLetterQuery, DeadLetterStore};

const INSERT: &str = "
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bytea[],
        $6::bytea[], $7::text[], $8::text[], $9::timestamptz[])
        AS new(id, kind, source, seq, subject, body, attempts, reason, died_at)
), removed AS (
    DELETE FROM set_aside s USING new
    WHERE new.kind = 'message' AND s.consumer = new.source AND s.seq = new.seq
)
INSERT INTO dead_letters (id, kind, source, seq, subject, body, attempts, reason, died_at)
SELECT * FROM new ON CONFLICT DO NOTHING";

/// Inserts dead letters, and removes their messages from those set aside.
pub(super) async fn insert(
    executor: impl PgExecutor<'_>,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    fn column<'l, T>(letters: &[&'l DeadLetter], of: impl Fn(&'l DeadLetter) -> T) -> Vec<T> {
        letters.iter().map(|letter| of(letter)).collect()
    }
    sqlx::query(INSERT)
        .bind(column(letters, |l| l.id))
        .bind(column(letters, |l| l.kind.as_str()))
        .bind(column(letters, |l| &l.source[..]))
        .bind(column(letters, |l| to_db(l.seq)))
        .bind(column(letters, |l| l.subject.as_bytes()))
        .bind(column(letters, |l| &l.body[..]))
        .bind(column(letters, |l| attempts::lines(&l.attempts)))
        .bind(column(letters, |l| error_text(&l.reason)))
        .bind(column(letters, |l| l.died_at))
        .execute(executor)
        .await?;
    Ok(())
}

#[async_trait]
impl DeadLetterStore for PostgresStore {
    async fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        for chunk in chunks(letters) {
            self.run(Pool::Workers, || insert(&self.workers, &chunk)).await?;
        }
        Ok(())
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        let sql = format!(
            "WITH picked AS MATERIALIZED ({}), sized AS (
                 SELECT *, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS before,
                     count(*) OVER () AS picked
                 FROM picked
             ) SELECT * FROM sized WHERE before < {MAX_PAGE_BYTES} ORDER BY id",
            page_sql(query, Dialect::Postgres)
        );
        self.run(Pool::Readers, async || {
            let statement = sqlx::query(AssertSqlSafe(&*sql))
                .bind(query.after.unwrap_or_default())
                .bind(limit_to_db(query.limit).saturating_add(1));
            let statement = match &query.source {
                Some(source) => statement.bind(source),
                None => statement,
            };
            let rows = statement.fetch_all(&self.readers).await?;
            let picked: i64 = rows.first().map_or(Ok(0), |row| row.try_get("picked"))?;
            let letters = rows.iter().map(|row| read_dead_letter(row.into()));
            let mut letters = letters.collect::<Result<Vec<_>, _>>()?;
            letters.truncate(query.limit);
            Ok(DeadLetterPage { more: (letters.len() as u64) < from_db(picked), letters })
        })
        .await
    }

    async fn redrive_messages(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let sql = format!(
            "WITH wanted AS MATERIALIZED (
                 SELECT d.kind, d.source, d.seq FROM unnest($1::uuid[]) AS wanted(id)
                 JOIN dead_letters d ON d.id = wanted.id AND d.kind = 'message'
                 JOIN consumers c ON c.name = d.source
                 ORDER BY d.source, d.seq FOR UPDATE OF d FOR KEY SHARE OF c
             ), removed AS (
                 DELETE FROM dead_letters d USING wanted w
                 WHERE d.kind = w.kind AND d.source = w.source AND d.seq = w.seq RETURNING d.*
             ), back AS (
                 INSERT INTO set_aside (consumer, seq, subject, body, attempt, attempts, due)
                 SELECT source, seq, subject, body, 0, {}, clock_timestamp() FROM removed
                 ON CONFLICT DO NOTHING
             )
             SELECT id FROM removed",
            attempts::last_lines_sql("attempts", Dialect::Postgres)
        );
        let redrive =
            || sqlx::query_scalar(AssertSqlSafe(&*sql)).bind(ids).fetch_all(&self.workers);
        self.run(Pool::Workers, redrive).await
    }
}
