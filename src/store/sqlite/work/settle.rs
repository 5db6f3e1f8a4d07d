//! Writes the outcomes of leases.
//!
//! Invariant: the transaction that removes a message that is given up also stores its dead letter.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Error, Row};
use uuid::Uuid;

use crate::store::sql::from_db;
use crate::store::sqlite::database::json;
use crate::store::sqlite::time::StoreTime;
use crate::store::work::LeaseOutcome;
use crate::store::work::set_aside::SettledRow;

// The JSON first becomes a table, as in `set_aside`.
const STAY: &str = "
WITH given (seq, due, line, returned) AS MATERIALIZED (
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2))
UPDATE set_aside INDEXED BY set_aside_seq SET lease = NULL, due = given.due,
    attempts = attempts || given.line, attempt = attempt - given.returned
FROM given WHERE consumer = $1 AND set_aside.seq = given.seq";

/// A message that is given up.
pub(super) struct GivenUp {
    pub seq: u64,
    /// The line to add to its attempts, or an empty text.
    pub line: String,
    pub reason: String,
    pub letter: Uuid,
}

/// Turns messages that are set aside into dead letters.
pub(super) async fn give_up(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    given_up: &[GivenUp],
) -> Result<(), Error> {
    if given_up.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = given_up
        .iter()
        .map(|one| (one.seq, one.letter.simple().to_string(), &one.line, &one.reason))
        .collect();
    sqlx::query(
        "INSERT INTO dead_letters (id, kind, source, seq, subject, attempts, reason, died_at, body) \
         SELECT unhex(given.value ->> 1), 'message', consumer, seq, subject, \
             attempts || (given.value ->> 2), given.value ->> 3, $2, body \
         FROM json_each($3) AS given CROSS JOIN set_aside INDEXED BY set_aside_seq \
         ON consumer = $1 AND seq = given.value ->> 0 WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(consumer)
    .bind(time.wall())
    .bind(json(&rows)?)
    .execute(&mut *connection)
    .await?;
    delete(connection, consumer, given_up.iter().map(|one| one.seq)).await
}

async fn delete(
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

/// A message that stays set aside: its sequence, its `due`, the line to add to its attempts, and whether the
/// attempt does not count.
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
    let (mut done, mut given_up, mut staying) = (Vec::new(), Vec::new(), Vec::new());
    for one in settled.iter().filter(|one| leases.get(&one.seq) == Some(&one.lease)) {
        let SettledRow { outcome, line, delay, reason, letter } = SettledRow::of(one);
        match letter {
            Some(letter) => given_up.push(GivenUp { seq: one.seq, line, reason, letter }),
            None if outcome == "done" => done.push(one.seq),
            None => staying.push(Staying(one.seq, time.until(delay), line, outcome == "returned")),
        }
    }
    give_up(time, &mut transaction, consumer, &given_up).await?;
    delete(&mut transaction, consumer, done.into_iter()).await?;
    sqlx::query(STAY).bind(consumer).bind(json(&staying)?).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// The current leases of these messages.
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
