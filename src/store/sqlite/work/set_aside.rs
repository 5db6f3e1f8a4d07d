//! Messages set aside: added, leased for an attempt, prolonged.
//!
//! Invariant: a row has one `due`: the end of its delay, or of its lease. So what
//! is due is one stretch of one index, and what is leased is never in it.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Error, Row};
use uuid::Uuid;

use super::settle::{GivenUp, bury_rows};
use crate::limits::{LEASE_DUE_BYTES, SQLITE_INSERT_ROWS};
use crate::store::sql::unreadable;
use crate::store::sql::{from_db, to_db};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::kept::{self, LOST, SPENT};
use crate::store::work::{Attempt, LeaseTerms, LeasedMessage, SetAside};

const ADD: &str =
    "INSERT INTO set_aside (consumer, seq, subject, attempt, attempts, due, body) VALUES ";

// What is told is made a table first: else SQLite reads it anew for every row of
// the consumer.
pub(super) const LEASE: &str = "
WITH told (seq, line) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each($2))
UPDATE set_aside INDEXED BY set_aside_seq SET lease = $3, due = $4, attempt = attempt + 1,
    attempts = attempts || told.line
FROM told WHERE consumer = $1 AND set_aside.seq = told.seq";
pub(super) const PROLONG: &str = "
WITH told (seq, lease) AS MATERIALIZED (SELECT value ->> 0, unhex(value ->> 1) FROM json_each($2))
UPDATE set_aside INDEXED BY set_aside_seq SET due = $3
FROM told WHERE consumer = $1 AND set_aside.seq = told.seq AND set_aside.lease = told.lease";

/// Values as a statement takes many of them: JSON.
pub(super) fn json(values: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(values).map_err(|error| Error::Encode(error.into()))
}

pub(super) async fn add(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let here = sqlx::query("SELECT 1 FROM consumers WHERE name = $1").bind(consumer);
    if here.fetch_optional(&mut *transaction).await?.is_none() {
        return transaction.rollback().await;
    }
    keep(time, &mut transaction, consumer, messages).await?;
    transaction.commit().await
}

/// Keeps those that are no dead letters, of a consumer that is there.
pub(super) async fn keep(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let seqs = json(&messages.iter().map(|m| m.seq).collect::<Vec<_>>())?;
    let dead: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM dead_letters INDEXED BY dead_letters_seq WHERE kind = 'message' \
         AND source = $1 AND seq IN (SELECT value FROM json_each($2))",
    )
    .bind(consumer)
    .bind(seqs)
    .fetch_all(&mut *connection)
    .await?;
    let dead: HashSet<u64> = dead.into_iter().map(from_db).collect();
    let living: Vec<&SetAside> =
        messages.iter().copied().filter(|message| !dead.contains(&message.seq)).collect();
    for some in living.chunks(SQLITE_INSERT_ROWS) {
        insert(time, connection, consumer, some).await?;
    }
    Ok(())
}

async fn insert(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let places = vec!["(?, ?, ?, ?, ?, ?, ?)"; messages.len()].join(", ");
    let sql = AssertSqlSafe(format!("{ADD}{places} ON CONFLICT DO NOTHING"));
    let statement = messages.iter().fold(sqlx::query(sql), |statement, message| {
        statement
            .bind(consumer)
            .bind(to_db(message.seq))
            .bind(message.subject.as_bytes())
            .bind(message.attempt)
            .bind(kept::lines(&message.attempts))
            .bind(time.until(message.delay))
            .bind(&message.body[..])
    });
    statement.execute(connection).await.map(|_| ())
}

pub(super) async fn lease(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    LeaseTerms { lease, limit, max_deliver, lease_for }: LeaseTerms,
) -> Result<Vec<LeasedMessage>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (mut leased, mut dying) = (Vec::new(), Vec::new());
    for Due { lost, mut message } in due(time, &mut transaction, consumer, limit).await? {
        let line = lost.as_ref().map(kept::line).unwrap_or_default();
        if message.attempt < max_deliver {
            message.attempt += 1;
            message.lease = lease;
            message.attempts.extend(lost);
            leased.push((message, line));
        } else {
            let reason = if lost.is_some() { LOST } else { SPENT }.to_owned();
            dying.push(GivenUp { seq: message.seq, line, reason, letter: Uuid::now_v7() });
        }
    }
    bury_rows(time, &mut transaction, consumer, &dying).await?;
    let lines: Vec<_> = leased.iter().map(|(message, line)| (message.seq, line)).collect();
    sqlx::query(LEASE)
        .bind(consumer)
        .bind(json(&lines)?)
        .bind(lease)
        .bind(time.until(lease_for))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(leased.into_iter().map(|(message, _)| message).collect())
}

/// Gives back leases that nobody heard of: no attempt is counted.
pub(super) async fn give_back(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    leases: &[Uuid],
) -> Result<(), Error> {
    let leases: Vec<String> = leases.iter().map(|lease| lease.simple().to_string()).collect();
    sqlx::query(
        "UPDATE set_aside INDEXED BY set_aside_leased SET lease = NULL, due = $2, \
         attempt = attempt - 1 WHERE consumer = $1 AND lease IS NOT NULL \
         AND lease IN (SELECT unhex(value) FROM json_each($3))",
    )
    .bind(consumer)
    .bind(time.now())
    .bind(json(&leases)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// A message that is due, as it stands, and the attempt it was lost in, if it was.
struct Due {
    message: LeasedMessage,
    lost: Option<Attempt>,
}

async fn due(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    limit: usize,
) -> Result<Vec<Due>, Error> {
    let mut rows = sqlx::query(
        "SELECT seq, subject, body, attempt, attempts, due, lease \
         FROM set_aside INDEXED BY set_aside_due \
         WHERE consumer = $1 AND due <= $2 ORDER BY due, seq LIMIT $3",
    )
    .bind(consumer)
    .bind(time.now())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch(connection);
    let (mut due, mut bytes) = (Vec::new(), 0);
    while bytes < LEASE_DUE_BYTES
        && let Some(row) = rows.try_next().await?
    {
        let one = read_due(time, &row)?;
        bytes += one.message.body.len() as u64;
        due.push(one);
    }
    Ok(due)
}

fn read_due(time: &StoreTime, row: &SqliteRow) -> Result<Due, Error> {
    let message = LeasedMessage {
        seq: from_db(row.try_get("seq")?),
        subject: subject(row)?,
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
        attempt: row.try_get("attempt")?,
        attempts: kept::read_lines(row.try_get("attempts")?).map_err(unreadable)?,
        lease: Uuid::nil(),
    };
    let lost = match row.try_get::<Option<Uuid>, _>("lease")? {
        Some(_) => Some(Attempt {
            attempt: message.attempt,
            at: time.to_wall(row.try_get("due")?),
            error: LOST.to_owned(),
        }),
        None => None,
    };
    Ok(Due { message, lost })
}

/// A subject, which was text when it was written.
pub(super) fn subject(row: &SqliteRow) -> Result<String, Error> {
    String::from_utf8(row.try_get("subject")?).map_err(unreadable)
}

/// A time, from microseconds.
pub(super) fn time(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| unreadable("a time beyond what a calendar has"))
}

pub(super) async fn next_due(
    time: &StoreTime,
    pool: &SqlitePool,
    consumer: &str,
) -> Result<Option<Duration>, Error> {
    let due: Option<i64> = sqlx::query_scalar(
        "SELECT min(due) FROM set_aside INDEXED BY set_aside_due WHERE consumer = $1",
    )
    .bind(consumer)
    .fetch_one(pool)
    .await?;
    Ok(due.map(|due| Duration::from_micros(from_db(due.saturating_sub(time.now())))))
}

pub(super) async fn extend_leases(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    leases: &[(u64, Uuid)],
    lease_for: Duration,
) -> Result<(), Error> {
    let leases: Vec<_> =
        leases.iter().map(|(seq, lease)| (seq, lease.simple().to_string())).collect();
    sqlx::query(PROLONG)
        .bind(consumer)
        .bind(json(&leases)?)
        .bind(time.until(lease_for))
        .execute(connection)
        .await?;
    Ok(())
}
