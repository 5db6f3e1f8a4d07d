//! The audit log: who did what.
//!
//! Invariant: entries are only added, in order of their numbers, and never changed.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Error;

use super::error::StoreError;
use super::sql::{Database, Pool, Row, Statement, limit_to_db, to_db};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number; 0 before it is stored.
    pub seq: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The key that acted; `None`: a caller without a key, or the command line on the store.
    pub actor_id: Option<String>,
    /// The name of the key at that time.
    pub actor_name: String,
    /// What was done, such as `key.create`.
    pub action: String,
    /// The object, such as the id of a key.
    pub target: String,
    /// More about it, as a JSON object.
    pub detail: String,
    /// `done` or `denied`.
    pub outcome: String,
}

/// The part of a store that holds the audit log.
#[async_trait]
pub trait AuditStore: Database {
    /// Adds entries, in order.
    async fn audit(&self, entries: &[AuditRow]) -> Result<(), StoreError> {
        let sql = format!("INSERT INTO audit ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)");
        let insert = |entry: &AuditRow| entry.bind(Statement::new(sql.clone()));
        self.transaction(Pool::Workers, entries.iter().map(insert).collect()).await?;
        Ok(())
    }

    /// The entries after a number, at most `limit`.
    async fn audit_entries(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let sql = "SELECT seq, at, actor_id, actor_name, action, target, detail, outcome FROM audit \
             WHERE seq > $1 ORDER BY seq LIMIT $2";
        let statement = Statement::new(sql).bind(to_db(after)).bind(limit_to_db(limit));
        self.select(Pool::Workers, statement).await?.decode(read_entry)
    }
}

/// The columns that [`AuditRow::bind`] binds.
pub(super) const COLUMNS: &str = "at, actor_id, actor_name, action, target, detail, outcome";

impl AuditRow {
    /// Binds the values of [`COLUMNS`].
    pub(super) fn bind(&self, statement: Statement) -> Statement {
        statement
            .bind(self.at)
            .bind(self.actor_id.as_deref())
            .bind(&*self.actor_name)
            .bind(&*self.action)
            .bind(&*self.target)
            .bind(&*self.detail)
            .bind(&*self.outcome)
    }
}

fn read_entry(row: Row<'_>) -> Result<AuditRow, Error> {
    Ok(AuditRow {
        seq: row.seq("seq")?,
        at: row.time_set("at")?,
        actor_id: row.get("actor_id")?,
        actor_name: row.get("actor_name")?,
        action: row.get("action")?,
        target: row.get("target")?,
        detail: row.get("detail")?,
        outcome: row.get("outcome")?,
    })
}
