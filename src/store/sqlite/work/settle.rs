//! Verdicts on leases.
//!
//! Invariant: what dies is a dead letter in the transaction that takes it away.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Error, Row};
use uuid::Uuid;

use super::set_aside::json;
use crate::store::sql::from_db;
use crate::store::sqlite::time::StoreTime;
use crate::store::work::LeaseOutcome;
use crate::store::work::kept::SettledRow;

// A table first: see `set_aside`.
pub(super) const STAY: &str = "
WITH told (seq, due, line, returned) AS MATERIALIZED (
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2))
UPDATE set_aside INDEXED BY set_aside_seq SET lease = NULL, due = told.due,
    attempts = attempts || told.line, attempt = attempt - told.returned
FROM told WHERE consumer = $1 AND set_aside.seq = told.seq";

/// A message that becomes a dead letter.
pub(super) struct GivenUp {
    pub seq: u64,
    /// The line to add to its attempts, or nothing.
    pub line: String,
    pub reason: String,
    pub letter: Uuid,
}

/// Makes dead letters of rows that are set aside.
pub(super) async fn bury_rows(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    dying: &[GivenUp],
) -> Result<(), Error> {
    if dying.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = dying
        .iter()
        .map(|one| (one.seq, one.letter.simple().to_string(), &one.line, &one.reason))
        .collect();
    sqlx::query(
        "INSERT INTO dead_letters (id, kind, source, seq, subject, attempts, reason, died_at, body) \
         SELECT unhex(told.value ->> 1), 'message', consumer, seq, subject, \
             attempts || (told.value ->> 2), told.value ->> 3, $2, body \
         FROM json_each($3) AS told CROSS JOIN set_aside INDEXED BY set_aside_seq \
         ON consumer = $1 AND seq = told.value ->> 0 WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .bind(time.wall())
    .bind(json(&rows)?)
    .execute(&mut *connection)
    .await?;
    forget(connection, consumer, dying.iter().map(|one| one.seq)).await
}

async fn forget(
    connection: &mut SqliteConnection,
    consumer: &str,
    seqs: impl Iterator<Item = u64>,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM set_aside INDEXED BY set_aside_seq \
         WHERE consumer = $1 AND seq IN (SELECT value FROM json_each($2))",
    )
    .bind(consumer)
    .bind(json(&seqs.collect::<Vec<_>>())?)
    .execute(connection)
    .await?;
    Ok(())
}

/// A message that stays set aside.
#[derive(Serialize)]
struct Staying(u64, i64, String, bool);

pub(super) async fn settle(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    settled: &[LeaseOutcome],
) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let leases = leases(&mut transaction, consumer, settled).await?;
    let (mut done, mut dying, mut staying) = (Vec::new(), Vec::new(), Vec::new());
    for one in settled.iter().filter(|one| leases.get(&one.seq) == Some(&one.lease)) {
        let SettledRow { verdict, line, delay, reason, letter } = SettledRow::of(one);
        match letter {
            Some(letter) => dying.push(GivenUp { seq: one.seq, line, reason, letter }),
            None if verdict == "done" => done.push(one.seq),
            None => staying.push(Staying(one.seq, time.until(delay), line, verdict == "returned")),
        }
    }
    bury_rows(time, &mut transaction, consumer, &dying).await?;
    forget(&mut transaction, consumer, done.into_iter()).await?;
    sqlx::query(STAY).bind(consumer).bind(json(&staying)?).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// The leases that these messages have now.
async fn leases(
    connection: &mut SqliteConnection,
    consumer: &str,
    settled: &[LeaseOutcome],
) -> Result<HashMap<u64, Uuid>, Error> {
    let rows = sqlx::query(
        "SELECT seq, lease FROM set_aside INDEXED BY set_aside_seq WHERE consumer = $1 \
         AND seq IN (SELECT value FROM json_each($2)) AND (lease IS NOT NULL) IS TRUE",
    )
    .bind(consumer)
    .bind(json(&settled.iter().map(|one| one.seq).collect::<Vec<_>>())?)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((from_db(row.try_get("seq")?), row.try_get("lease")?))).collect()
}
