//! The store in one SQLite file, for one server.
//!
//! Invariants: acknowledged means fsynced (WAL with `synchronous=FULL`). One
//! connection writes, taken by whoever writes next; it leaves its place while
//! in use, so that a write that is dropped half-way takes its connection, and
//! with it the open transaction, along. An error of the disk is told, never
//! taken for success.

mod connection;
mod files;
mod fold;
mod history;
mod job_store;
mod jobs;
mod log;
mod membership;
mod queues;
#[cfg(test)]
mod tests;
mod time;
mod wal;
mod work;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{Connection, SqlStr};

use super::{BusKind, Membership, Store, StoreError};
use crate::limits::STORE_GRACE;
use crate::store::work::unconfirmed::UnconfirmedLeases;
use connection::{Writer, bounded, classify};
use time::{Clocks, StoreTime};
use wal::Wal;

/// Name of the database in the data directory.
pub const DATABASE_FILE: &str = "agentbus.db";

/// History in a file.
pub struct SqliteStore {
    dir: PathBuf,
    options: SqliteConnectOptions,
    readers: SqlitePool,
    writer: Writer,
    unconfirmed: UnconfirmedLeases,
    time: Arc<StoreTime>,
}

impl SqliteStore {
    /// Opens the database in a directory, both created if they are not there,
    /// and brings its schema up to date, if no process runs on it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the disk does not let it;
    /// [`StoreError::Refused`] when the schema is of another version, or of an older one
    /// with which another process runs.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_by(dir, Clocks::system()).await
    }

    /// The same, with clocks of one's own.
    async fn open_by(dir: &Path, clocks: Clocks) -> Result<Self, StoreError> {
        files::prepare(dir)?;
        let file = dir.join(DATABASE_FILE);
        let options = connection::options(&file);
        let mut first = connection::open(&options).await?;
        let lock = match bounded(is_behind(&mut first)).await? {
            true => Some(membership::lock(dir).await?.map_err(StoreError::Refused)?),
            false => None,
        };
        migrator().run_direct(None, &mut first, false).await.map_err(schema_error)?;
        drop(lock);
        let time = Arc::new(bounded(StoreTime::open(&mut first, clocks)).await?);
        Ok(Self {
            dir: dir.to_owned(),
            readers: connection::readers(&options),
            writer: Writer::new(first, Wal::of(&file), Arc::clone(&time)),
            unconfirmed: UnconfirmedLeases::default(),
            time,
            options,
        })
    }
}

/// Every step of the schema, in order; one that is out in the world never changes.
fn migrator() -> Migrator {
    let migration = |version, name: &'static str, sql| {
        let sql = SqlStr::from_static(sql);
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(vec![
        migration(1, "log", include_str!("../../../migrations/sqlite/0001_log.sql")),
        migration(2, "state", include_str!("../../../migrations/sqlite/0002_state.sql")),
        migration(3, "work", include_str!("../../../migrations/sqlite/0003_work.sql")),
        migration(4, "jobs", include_str!("../../../migrations/sqlite/0004_jobs.sql")),
        migration(5, "odd", include_str!("../../../migrations/sqlite/0005_odd.sql")),
        migration(
            6,
            "queues_deleted",
            include_str!("../../../migrations/sqlite/0006_queues_deleted.sql"),
        ),
    ])
}

/// Whether the schema lacks steps.
async fn is_behind(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let steps = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if sqlx::query_scalar::<_, i64>(steps).fetch_one(&mut *connection).await? == 0 {
        return Ok(true);
    }
    let last = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
    let last: Option<i64> = last.fetch_one(connection).await?;
    Ok(last < migrator().iter().map(|step| step.version).max())
}

fn schema_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        other => {
            StoreError::Refused(format!("the database's schema is of another version: {other}"))
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn ping(&self) -> Result<(), StoreError> {
        bounded(sqlx::query("SELECT 1").execute(&self.readers)).await.map(|_| ())
    }

    /// A file has no clock but its process's.
    async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(DateTime::from_timestamp_micros(self.time.wall()).unwrap_or_default())
    }

    /// Each connection has its own settings, and they are ours.
    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError> {
        let joined = membership::join(&self.dir, bus).await?;
        Ok(joined.map(|member| Box::new(member) as Box<dyn Membership>))
    }

    async fn close(&self) {
        // A database that is away must not hold up the end.
        let _ = tokio::time::timeout(STORE_GRACE, self.give_all_back()).await;
        self.readers.close().await;
        if let Some(connection) = self.writer.take().await {
            let _ = connection.close().await;
        }
    }
}
