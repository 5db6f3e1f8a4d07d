//! Messages set aside: added, leased for an attempt, released, their leases extended.
//!
//! Invariant: a row has one column `due`, the end of its delay or of its lease. So the due rows are one range
//! of one index, and a row whose lease runs is never among them.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Error, Row as _};
use uuid::Uuid;

use super::settle::{self, GivenUp, give_up};
use crate::limits::{LEASE_DUE_BYTES, SQLITE_INSERT_ROWS};
use crate::store::StoreError;
use crate::store::sql::{Pool, from_db, limit_to_db, to_db};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::connection::bounded;
use crate::store::sqlite::database::{in_turn, json};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::attempts::{self, EXHAUSTED, LOST};
use crate::store::work::chunks::chunks;
use crate::store::work::set_aside::{LeaseTerms, read_leased};
use crate::store::work::{Attempt, LeaseOutcome, LeasedMessage, SetAside, SetAsideStore};

const INSERT: &str =
    "INSERT INTO set_aside (consumer, seq, subject, attempt, attempts, due, body) VALUES ";

// The JSON first becomes a table. Otherwise SQLite would parse it again for every row of the consumer.
const LEASE: &str = "
WITH given (seq, line) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each($2))
UPDATE set_aside INDEXED BY set_aside_seq SET lease = $3, due = $4, attempt = attempt + 1,
    attempts = attempts || given.line
FROM given WHERE consumer = $1 AND set_aside.seq = given.seq";
const EXTEND: &str = "
WITH given (seq, lease) AS MATERIALIZED (SELECT value ->> 0, unhex(value ->> 1) FROM json_each($2))
UPDATE set_aside INDEXED BY set_aside_seq SET due = $3
FROM given WHERE consumer = $1 AND set_aside.seq = given.seq AND set_aside.lease = given.lease";

#[async_trait]
impl SetAsideStore for SqliteStore {
    async fn set_aside(&self, consumer: &str, messages: &[SetAside]) -> Result<(), StoreError> {
        for chunk in chunks(messages) {
            in_turn!(self, Workers, connection => add(&self.time, connection, consumer, &chunk))?;
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
        let mut turn = self.turn_for(Pool::Workers).await?;
        let id = Uuid::new_v4();
        let pending = self.unconfirmed.request(consumer, id, lease_for);
        let terms = LeaseTerms { lease: id, limit, max_deliver, lease_for };
        let leased = bounded(lease(&self.time, turn.connection(), consumer, terms)).await;
        let leased = turn.end(leased)?;
        pending.confirm();
        Ok(leased)
    }

    async fn extend_leases(
        &self,
        consumer: &str,
        leases: &[(u64, Uuid)],
        lease_for: Duration,
    ) -> Result<(), StoreError> {
        let leases: Vec<_> =
            leases.iter().map(|(seq, lease)| (seq, lease.simple().to_string())).collect();
        in_turn!(self, Workers, connection => async {
            let extend = sqlx::query(EXTEND).bind(consumer).bind(json(&leases)?);
            extend.bind(self.time.until(lease_for)).execute(connection).await.map(drop)
        })
    }

    async fn settle(&self, consumer: &str, settled: &[LeaseOutcome]) -> Result<(), StoreError> {
        in_turn!(self, Workers, connection => settle::settle(&self.time, connection, consumer, settled))
    }
}

impl SqliteStore {
    /// Releases a consumer's unconfirmed leases (their response was lost), so that they do not count as attempts.
    async fn release_unconfirmed(&self, consumer: &str) -> Result<(), StoreError> {
        let leases = self.unconfirmed.of(consumer);
        if leases.is_empty() {
            return Ok(());
        }
        let leases: Vec<String> = leases.iter().map(|lease| lease.simple().to_string()).collect();
        in_turn!(self, Workers, connection => async {
            sqlx::query(
                "UPDATE set_aside INDEXED BY set_aside_leased SET lease = NULL, due = $2, \
                 attempt = attempt - 1 WHERE consumer = $1 AND lease IS NOT NULL \
                 AND lease IN (SELECT unhex(value) FROM json_each($3))",
            )
            .bind(consumer)
            .bind(self.time.now())
            .bind(json(&leases)?)
            .execute(connection)
            .await
            .map(drop)
        })
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

async fn add(
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
    insert(time, &mut transaction, consumer, messages).await?;
    transaction.commit().await
}

/// Sets messages aside for a consumer that exists, except those that are dead letters.
pub(super) async fn insert(
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
        insert_some(time, connection, consumer, some).await?;
    }
    Ok(())
}

async fn insert_some(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    messages: &[&SetAside],
) -> Result<(), Error> {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; messages.len()].join(", ");
    let sql = AssertSqlSafe(format!("{INSERT}{values} ON CONFLICT DO NOTHING"));
    let statement = messages.iter().fold(sqlx::query(sql), |statement, message| {
        statement
            .bind(consumer)
            .bind(to_db(message.seq))
            .bind(message.subject.as_bytes())
            .bind(message.attempt)
            .bind(attempts::lines(&message.attempts))
            .bind(time.until(message.delay))
            .bind(&message.body[..])
    });
    statement.execute(connection).await.map(|_| ())
}

async fn lease(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    consumer: &str,
    LeaseTerms { lease, limit, max_deliver, lease_for }: LeaseTerms,
) -> Result<Vec<LeasedMessage>, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let (mut leased, mut given_up) = (Vec::new(), Vec::new());
    for Due { lost, mut message } in due(time, &mut transaction, consumer, limit).await? {
        let line = lost.as_ref().map(attempts::line).unwrap_or_default();
        if message.attempt < max_deliver {
            message.attempt += 1;
            message.lease = lease;
            message.attempts.extend(lost);
            leased.push((message, line));
        } else {
            let reason = if lost.is_some() { LOST } else { EXHAUSTED }.to_owned();
            given_up.push(GivenUp { seq: message.seq, line, reason, letter: Uuid::now_v7() });
        }
    }
    give_up(time, &mut transaction, consumer, &given_up).await?;
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

/// A message that is due, and its attempt whose lease ran out, if there is one.
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
    .bind(limit_to_db(limit))
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
    let message = read_leased(row.into(), Uuid::nil())?;
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
