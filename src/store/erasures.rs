//! Erasures: which messages are to be erased, and which are (contract, section 17).
//!
//! Invariants: an erasure is recorded together with its audit entry, before anything of the message is gone, and stays as
//! the record of it. From then on nothing of the message can be set aside or become a dead letter again (triggers of the
//! migration). One transaction erases the row, its retries and its dead letters, and raises the number of erasures
//! ([`Versions`](super::Versions)), by which other servers see it.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Error;
use uuid::Uuid;

use super::audit::{AuditRow, COLUMNS as AUDIT_COLUMNS};
use super::error::StoreError;
use super::history::{ORIGINAL_COLUMNS, Original, read_original};
use super::sql::{Database, Dialect, Pool, Row, Statement, limit_to_db, to_db};
use super::versions::VERSIONS;
use crate::message::erase;

/// The erasure of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The message's sequence.
    pub seq: u64,
    /// The message's id.
    pub id: Uuid,
    /// The erased form of its body.
    pub body: Bytes,
    /// Why it is erased.
    pub reason: String,
    /// When that was decided.
    pub at: DateTime<Utc>,
    /// Whether it is finished.
    pub is_done: bool,
}

impl Erasure {
    /// The erasure of this message, of which nothing is done yet.
    #[must_use]
    pub fn of(message: &Original, reason: String, at: DateTime<Utc>) -> Self {
        let Original { stored, id, .. } = message;
        Self { seq: stored.seq, id: *id, body: erase(&stored.body), reason, at, is_done: false }
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn detail(&self) -> Value {
        json!({ "seq": self.seq, "reason": self.reason })
    }
}

/// The erasures that were finished after some number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishedErasures {
    /// The number of erasures. Later ones may be included.
    pub number: u64,
    /// The sequences of the messages.
    pub seqs: Vec<u64>,
}

/// The part of a store that holds erasures.
#[async_trait]
pub trait ErasureStore: Database {
    /// Records that a message is to be erased, with its audit entry, unless it is recorded already.
    async fn begin_erasure(&self, erasure: &Erasure, audit: &AuditRow) -> Result<(), StoreError> {
        let (audited, begun) = (audit_statement(erasure.seq, audit), begin_statement(erasure));
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended('agentbus erasures', 0))";
        let statements = match self.dialect() {
            Dialect::Postgres => vec![Statement::new(lock), audited, begun],
            Dialect::Sqlite => vec![audited, begun],
        };
        self.transaction(Pool::Workers, statements).await.map(drop)
    }

    /// Erases the message in the store. Nothing happens if it was not recorded, or is erased already.
    async fn finish_erasure(&self, seq: u64) -> Result<(), StoreError>;

    /// The erasure of a message.
    async fn erasure(&self, seq: u64) -> Result<Option<Erasure>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM erasures WHERE seq = $1");
        let rows = self.select(Pool::Workers, Statement::new(sql).bind(to_db(seq))).await?;
        rows.first(read_erasure)
    }

    /// Up to `limit` erasures from a sequence on, in order.
    async fn erasures(&self, from: u64, limit: usize) -> Result<Vec<Erasure>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM erasures WHERE seq >= $1 ORDER BY seq LIMIT $2");
        let statement = Statement::new(sql).bind(to_db(from)).bind(limit_to_db(limit));
        self.select(Pool::Workers, statement).await?.decode(read_erasure)
    }

    /// Up to `limit` erasures that are not finished, from a sequence on, in order.
    async fn pending_erasures(&self, from: u64, limit: usize) -> Result<Vec<Erasure>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM erasures WHERE change IS NULL AND seq >= $1 ORDER BY seq LIMIT $2"
        );
        let statement = Statement::new(sql).bind(to_db(from)).bind(limit_to_db(limit));
        self.select(Pool::Workers, statement).await?.decode(read_erasure)
    }

    /// How many erasures are not finished.
    async fn count_pending_erasures(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM erasures WHERE change IS NULL";
        let rows = self.select(Pool::Workers, Statement::new(sql)).await?;
        Ok(rows.first(|row| row.seq(0))?.unwrap_or_default())
    }

    /// The messages whose erasure was finished after `number`.
    async fn erased_after(&self, number: u64) -> Result<FinishedErasures, StoreError> {
        let finished = "SELECT seq FROM erasures WHERE change > $1 ORDER BY change, seq";
        // The number first: what changes in between is read again at the next look.
        let statements =
            vec![Statement::new(VERSIONS), Statement::new(finished).bind(to_db(number))];
        let read = self.transaction(Pool::Workers, statements).await?;
        let [version, finished] = &read[..] else {
            return Err(StoreError::Unavailable("two results were expected".to_owned()));
        };
        Ok(FinishedErasures {
            number: version.first(|row| row.seq("erasures"))?.unwrap_or_default(),
            seqs: finished.decode(|row| row.seq("seq"))?,
        })
    }

    /// Up to `limit` messages with this id, from a sequence on, in order.
    async fn originals_of(
        &self,
        id: Uuid,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Original>, StoreError> {
        let order = match self.dialect() {
            Dialect::Postgres => "seq NULLS FIRST",
            Dialect::Sqlite => "seq",
        };
        let sql = format!(
            "SELECT {ORIGINAL_COLUMNS} FROM messages WHERE id = $1 AND seq >= $2 ORDER BY {order} LIMIT $3"
        );
        let statement = Statement::new(sql).bind(id).bind(to_db(from)).bind(limit_to_db(limit));
        self.select(Pool::Readers, statement).await?.decode(read_original)
    }
}

const COLUMNS: &str = "seq, id, body, reason, at, change";

fn audit_statement(seq: u64, audit: &AuditRow) -> Statement {
    let sql = format!(
        "INSERT INTO audit ({AUDIT_COLUMNS}) SELECT $1, $2, $3, $4, $5, $6, $7 \
         WHERE NOT EXISTS (SELECT 1 FROM erasures WHERE seq = $8)"
    );
    audit.bind(Statement::new(sql)).bind(to_db(seq))
}

fn begin_statement(erasure: &Erasure) -> Statement {
    Statement::new(
        "INSERT INTO erasures (seq, id, body, reason, at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT DO NOTHING",
    )
    .bind(to_db(erasure.seq))
    .bind(erasure.id)
    .bind(erasure.body.to_vec())
    .bind(&*erasure.reason)
    .bind(erasure.at)
}

/// The statements of [`ErasureStore::finish_erasure`], for one transaction.
pub(super) fn finish_statements(seq: u64) -> Vec<Statement> {
    // A source of retries or dead letters has a count, whether it still exists or not.
    let erased = "body = (SELECT body FROM erasures WHERE seq = $1)";
    let statements = [
        format!(
            "UPDATE messages SET {erased}, foreign_payload = NULL, foreign_headers = NULL \
             WHERE seq = $1 AND {IS_PENDING}"
        ),
        format!(
            "UPDATE set_aside SET {erased}, attempts = '' WHERE seq = $1 AND {IS_PENDING} \
             AND consumer IN (SELECT source FROM work_counts WHERE what = 'set_aside')"
        ),
        format!(
            "UPDATE dead_letters SET {erased}, attempts = '', reason = 'the message was erased' \
             WHERE kind = 'message' AND seq = $1 AND {IS_PENDING} \
             AND source IN (SELECT source FROM work_counts WHERE what = 'message')"
        ),
        "UPDATE erasures SET change = (SELECT erasures FROM versions) WHERE seq = $1 AND change IS NULL"
            .to_owned(),
    ];
    // The row of numbers is a lock as well: changes come one after the other.
    let raise = Statement::new("UPDATE versions SET erasures = erasures + 1");
    let of = |sql: String| Statement::new(sql).bind(to_db(seq));
    std::iter::once(raise).chain(statements.map(of)).collect()
}

const IS_PENDING: &str = "EXISTS (SELECT 1 FROM erasures e WHERE e.seq = $1 AND e.change IS NULL)";

fn read_erasure(row: Row<'_>) -> Result<Erasure, Error> {
    Ok(Erasure {
        seq: row.seq("seq")?,
        id: row.get("id")?,
        body: row.get::<Vec<u8>>("body")?.into(),
        reason: row.get("reason")?,
        at: row.time_set("at")?,
        is_done: row.get::<Option<i64>>("change")?.is_some(),
    })
}
