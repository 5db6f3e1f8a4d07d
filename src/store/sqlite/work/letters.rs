//! Dead letters: kept, listed, given back, discarded.

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Error, Row};
use uuid::Uuid;

use super::set_aside::{json, subject, time};
use crate::limits::{MAX_PAGE_BYTES, SQLITE_INSERT_ROWS};
use crate::store::sql::unreadable;
use crate::store::sql::{Dialect, from_db, to_db};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::{DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery, kept};

const BURY: &str = "INSERT INTO dead_letters \
    (id, kind, source, seq, subject, attempts, reason, died_at, body) VALUES ";

pub(super) async fn bury(
    connection: &mut SqliteConnection,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    keep(&mut transaction, letters).await?;
    transaction.commit().await
}

/// Keeps letters; their messages are set aside no longer.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    for some in letters.chunks(SQLITE_INSERT_ROWS) {
        let places = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; some.len()].join(", ");
        let sql = AssertSqlSafe(format!("{BURY}{places} ON CONFLICT DO NOTHING"));
        let statement = some.iter().fold(sqlx::query(sql), |statement, letter| {
            statement
                .bind(letter.id)
                .bind(letter.kind.as_str())
                .bind(&letter.source)
                .bind(to_db(letter.seq))
                .bind(letter.subject.as_bytes())
                .bind(kept::lines(&letter.attempts))
                .bind(kept::text(&letter.reason))
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
        "DELETE FROM set_aside WHERE rowid IN (SELECT s.rowid FROM json_each($1) AS told \
         CROSS JOIN set_aside s INDEXED BY set_aside_seq \
         ON s.consumer = told.value ->> 0 AND s.seq = told.value ->> 1)",
    )
    .bind(json(&messages)?)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn page(
    pool: &SqlitePool,
    query: &DeadLetterQuery,
) -> Result<DeadLetterPage, Error> {
    let sql = AssertSqlSafe(kept::letters_sql(query, Dialect::Sqlite));
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let statement =
        sqlx::query(sql).bind(query.after.unwrap_or_default()).bind(limit.saturating_add(1));
    let statement = match &query.source {
        Some(source) => statement.bind(source),
        None => statement,
    };
    let mut rows = statement.fetch(pool);
    let (mut page, mut bytes) = (DeadLetterPage::default(), 0);
    while let Some(row) = rows.try_next().await? {
        if page.letters.len() == query.limit || bytes >= MAX_PAGE_BYTES {
            page.more = true;
            break;
        }
        let letter = letter(&row)?;
        bytes += letter.body.len() as u64;
        page.letters.push(letter);
    }
    Ok(page)
}

fn letter(row: &SqliteRow) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        id: row.try_get("id")?,
        kind: kept::read_kind(row.try_get("kind")?).map_err(unreadable)?,
        source: row.try_get("source")?,
        seq: from_db(row.try_get("seq")?),
        subject: subject(row)?,
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
        attempts: kept::read_lines(row.try_get("attempts")?).map_err(unreadable)?,
        reason: row.try_get("reason")?,
        died_at: time(row.try_get("died_at")?)?,
    })
}

pub(super) async fn one(pool: &SqlitePool, id: Uuid) -> Result<Option<DeadLetter>, Error> {
    let row = sqlx::query("SELECT * FROM dead_letters INDEXED BY dead_letters_id WHERE id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(letter).transpose()
}

pub(super) async fn counts(pool: &SqlitePool) -> Result<Vec<(DeadLetterKind, String, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT what, source, n FROM work_counts WHERE what <> 'set_aside' AND n > 0 \
         ORDER BY what, source",
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

pub(super) async fn redrive(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    let told: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let wanted: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT d.rowid, d.id FROM json_each($1) AS told CROSS JOIN dead_letters d \
         INDEXED BY dead_letters_id ON d.id = unhex(told.value) AND d.kind = 'message' \
         AND EXISTS (SELECT 1 FROM consumers WHERE name = d.source)",
    )
    .bind(json(&told)?)
    .fetch_all(&mut *transaction)
    .await?;
    let rows = json(&wanted.iter().map(|(row, _)| row).collect::<Vec<_>>())?;
    let back = format!(
        "INSERT INTO set_aside (consumer, seq, subject, attempt, attempts, due, body) \
         SELECT source, seq, subject, 0, {}, $1, body FROM dead_letters \
         WHERE rowid IN (SELECT value FROM json_each($2)) ON CONFLICT DO NOTHING",
        kept::last_lines_sql("attempts", Dialect::Sqlite)
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

pub(in crate::store::sqlite) async fn discard(
    connection: &mut SqliteConnection,
    id: Uuid,
) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM dead_letters INDEXED BY dead_letters_id WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}
