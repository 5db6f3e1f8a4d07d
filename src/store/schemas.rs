//! Payload schemas: every version of each, of which the newest counts.
//!
//! Invariant: a version never changes. Each change raises the number of schemas ([`Versions`](super::Versions)) in the
//! same transaction.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use super::error::StoreError;
use super::sql::{Database, Pool, Row, Statement, limit_to_db};
use super::versions::VERSIONS;

/// One version of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRow {
    /// The kind of its messages.
    pub kind: String,
    /// The type of its messages.
    pub type_: String,
    /// From 1 on; 0 before it is stored.
    pub version: u64,
    /// JSON Schema.
    pub schema: String,
    /// `text` or `json`.
    pub content: String,
    /// `off`, `warn` or `enforce`.
    pub mode: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The key that made it; `None`: a caller without a key.
    pub created_by: Option<String>,
    /// Identifies the call that made it.
    pub change: Uuid,
}

/// The newest version of each schema, at one number of schemas or newer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaTable {
    /// The number. Changes after it may be included.
    pub version: u64,
    /// By kind and type.
    pub schemas: Vec<SchemaRow>,
}

/// The part of a store that holds payload schemas.
#[async_trait]
pub trait SchemaStore: Database {
    /// The newest version of each schema.
    async fn schemas(&self) -> Result<SchemaTable, StoreError> {
        let newest =
            format!("SELECT {COLUMNS} FROM schemas s WHERE {IS_NEWEST} ORDER BY kind, type");
        // The number first: what changes in between is read again at the next look.
        let statements = vec![Statement::new(VERSIONS), Statement::new(newest)];
        let read = self.transaction(Pool::Workers, statements).await?;
        let [version, schemas] = &read[..] else {
            return Err(StoreError::Unavailable("two results were expected".to_owned()));
        };
        Ok(SchemaTable {
            version: version.first(|row| row.seq("schemas"))?.unwrap_or_default(),
            schemas: schemas.decode(read_schema)?,
        })
    }

    /// The versions of one schema, newest first; none if it does not exist.
    async fn schema_versions(
        &self,
        kind: &str,
        type_: &str,
        limit: usize,
    ) -> Result<Vec<SchemaRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM schemas WHERE kind = $1 AND type = $2 \
             ORDER BY version DESC LIMIT $3"
        );
        let statement = Statement::new(sql).bind(kind).bind(type_).bind(limit_to_db(limit));
        self.select(Pool::Workers, statement).await?.decode(read_schema)
    }

    /// Stores a schema as its next version, unless it is of a type that has none and `most` others have. Only the newest
    /// `most_versions` are kept. Returns the version; `None` if it is not stored.
    async fn put_schema(
        &self,
        row: &SchemaRow,
        most: usize,
        most_versions: usize,
    ) -> Result<Option<u64>, StoreError> {
        let insert = Statement::new(
            "INSERT INTO schemas (kind, type, version, schema, content, mode, created_at, created_by, change) \
             SELECT $1, $2, 1 + coalesce((SELECT max(version) FROM schemas WHERE kind = $1 AND type = $2), 0), \
             $3, $4, $5, $6, $7, $8 WHERE NOT EXISTS (SELECT 1 FROM schemas WHERE change = $8) \
             AND (EXISTS (SELECT 1 FROM schemas WHERE kind = $1 AND type = $2) \
             OR (SELECT count(*) FROM (SELECT DISTINCT kind, type FROM schemas) s) < $9)",
        )
        .bind(&*row.kind)
        .bind(&*row.type_)
        .bind(&*row.schema)
        .bind(&*row.content)
        .bind(&*row.mode)
        .bind(row.created_at)
        .bind(row.created_by.as_deref())
        .bind(row.change)
        .bind(limit_to_db(most));
        let forget = Statement::new(
            "DELETE FROM schemas WHERE kind = $1 AND type = $2 AND version <= \
             (SELECT max(version) FROM schemas WHERE kind = $1 AND type = $2) - $3",
        )
        .bind(&*row.kind)
        .bind(&*row.type_)
        .bind(limit_to_db(most_versions));
        let stored = "SELECT version FROM schemas WHERE change = $1";
        // The row of numbers is a lock as well: changes come one after the other.
        let statements = vec![
            Statement::new(RAISE_VERSION),
            insert,
            forget,
            Statement::new(stored).bind(row.change),
        ];
        let done = self.transaction(Pool::Workers, statements).await?;
        match done.last() {
            Some(stored) => stored.first(|row| row.seq("version")),
            None => Ok(None),
        }
    }

    /// Deletes a schema with all its versions. Returns whether there was one.
    async fn delete_schema(&self, kind: &str, type_: &str) -> Result<bool, StoreError> {
        let delete = "DELETE FROM schemas WHERE kind = $1 AND type = $2 RETURNING version";
        let statements =
            vec![Statement::new(RAISE_VERSION), Statement::new(delete).bind(kind).bind(type_)];
        let done = self.transaction(Pool::Workers, statements).await?;
        Ok(done.last().is_some_and(|deleted| !deleted.is_empty()))
    }
}

const COLUMNS: &str = "kind, type, version, schema, content, mode, created_at, created_by, change";
const RAISE_VERSION: &str = "UPDATE versions SET schemas = schemas + 1";
const IS_NEWEST: &str =
    "version = (SELECT max(version) FROM schemas t WHERE t.kind = s.kind AND t.type = s.type)";

fn read_schema(row: Row<'_>) -> Result<SchemaRow, Error> {
    Ok(SchemaRow {
        kind: row.get("kind")?,
        type_: row.get("type")?,
        version: row.seq("version")?,
        schema: row.get("schema")?,
        content: row.get("content")?,
        mode: row.get("mode")?,
        created_at: row.time_set("created_at")?,
        created_by: row.get("created_by")?,
        change: row.get("change")?,
    })
}
