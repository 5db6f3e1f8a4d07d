//! Stores, lists and redrives dead letters.

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Error};
use uuid::Uuid;

use crate::limits::{MAX_PAGE_BYTES, SQLITE_INSERT_ROWS};
use crate::store::StoreError;
use crate::store::sql::{Dialect, limit_to_db, to_db};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::connection::bounded;
use crate::store::sqlite::database::{in_turn, json};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::attempts::{self, error_text};
use crate::store::work::chunks::chunks;
use crate::store::work::dead_letters::{page_sql, read_dead_letter};
use crate::store::work::{
    DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery, DeadLetterStore,
};

const INSERT: &str = "INSERT INTO dead_letters \
    (id, kind, source, seq, subject, attempts, reason, died_at, body) VALUES ";

/// Inserts dead letters, and removes their messages from those set aside.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    for some in letters.chunks(SQLITE_INSERT_ROWS) {
        let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; some.len()].join(", ");
        let sql = AssertSqlSafe(format!("{INSERT}{values} ON CONFLICT DO NOTHING"));
        let statement = some.iter().fold(sqlx::query(sql), |statement, letter| {
            statement
                .bind(letter.id)
                .bind(letter.kind.as_str())
                .bind(&letter.source)
                .bind(to_db(letter.seq))
                .bind(letter.subject.as_bytes())
                .bind(attempts::lines(&letter.attempts))
                .bind(error_text(&letter.reason))
                .bind(letter.died_at.timestamp_micros())
                .bind(&letter.body[..])
        });
        statement.execute(&mut *connection).await?;
    }
    let messages: Vec<_> = letters
        .iter()
        .filter(|letter| letter.kind == DeadLetterKind::Message)
        .map(|letter| (&letter.source, letter.seq))
        .collect();
    sqlx::query(
        "DELETE FROM set_aside WHERE rowid IN (SELECT s.rowid FROM json_each($1) AS dead \
         CROSS JOIN set_aside s INDEXED BY set_aside_seq \
         ON s.consumer = dead.value ->> 0 AND s.seq = dead.value ->> 1)",
    )
    .bind(json(&messages)?)
    .execute(connection)
    .await?;
    Ok(())
}

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        for chunk in chunks(letters) {
            in_turn!(self, Workers, connection => async {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                insert(&mut transaction, &chunk).await?;
                transaction.commit().await
            })?;
        }
        Ok(())
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        let sql = page_sql(query, Dialect::Sqlite);
        let statement = sqlx::query(AssertSqlSafe(sql))
            .bind(query.after.unwrap_or_default())
            .bind(limit_to_db(query.limit).saturating_add(1));
        let statement = match &query.source {
            Some(source) => statement.bind(source),
            None => statement,
        };
        bounded(async {
            let mut rows = statement.fetch(&self.readers);
            let (mut page, mut bytes) = (DeadLetterPage::default(), 0);
            while let Some(row) = rows.try_next().await? {
                if page.letters.len() == query.limit || bytes >= MAX_PAGE_BYTES {
                    page.more = true;
                    break;
                }
                let letter = read_dead_letter((&row).into())?;
                bytes += letter.body.len() as u64;
                page.letters.push(letter);
            }
            Ok(page)
        })
        .await
    }

    async fn redrive_messages(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        in_turn!(self, Workers, connection => redrive(&self.time, connection, ids))
    }
}

async fn redrive(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let wanted: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT d.rowid, d.id FROM json_each($1) AS wanted CROSS JOIN dead_letters d \
         INDEXED BY dead_letters_id ON d.id = unhex(wanted.value) AND d.kind = 'message' \
         AND EXISTS (SELECT 1 FROM consumers WHERE name = d.source)",
    )
    .bind(json(&ids)?)
    .fetch_all(&mut *transaction)
    .await?;
    let rows = json(&wanted.iter().map(|(row, _)| row).collect::<Vec<_>>())?;
    let back = format!(
        "INSERT INTO set_aside (consumer, seq, subject, attempt, attempts, due, body) \
         SELECT source, seq, subject, 0, {}, $1, body FROM dead_letters \
         WHERE rowid IN (SELECT value FROM json_each($2)) ON CONFLICT DO NOTHING",
        attempts::last_lines_sql("attempts", Dialect::Sqlite)
    );
    sqlx::query(AssertSqlSafe(back))
        .bind(time.now())
        .bind(&rows)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM dead_letters WHERE rowid IN (SELECT value FROM json_each($1))")
        .bind(&rows)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(wanted.into_iter().map(|(_, id)| id).collect())
}

/// Deletes a dead letter within a transaction. Returns whether it existed.
pub(crate) async fn discard(connection: &mut SqliteConnection, id: Uuid) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM dead_letters INDEXED BY dead_letters_id WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}
