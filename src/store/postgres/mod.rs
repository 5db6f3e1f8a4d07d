//! The store in PostgreSQL, for any number of servers.
//!
//! Invariants: a write is one statement on one connection that is kept for the
//! writer's life; reads, background processing, cursors of inboxes, and lease and
//! watermark, have pools of their own, so that none waits for another. Every statement ends by itself (the
//! database's `statement_timeout`) or with its connection (a time-out here).

mod connection;
mod fold;
mod history;
mod job_store;
mod jobs;
mod log;
mod membership;
mod page;
mod partitions;
mod queues;
#[cfg(test)]
mod tests;
mod work;
mod write;

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{Connection, SqlStr};

use super::{BusKind, Membership, Store, StoreError};
use crate::limits::{
    STORE_CONTROLS, STORE_CURSORS, STORE_GRACE, STORE_JOBS, STORE_READ_TIMEOUT, STORE_READERS,
    STORE_WORKERS, STORE_WRITE_TIMEOUT,
};
use crate::store::work::unconfirmed::UnconfirmedLeases;
pub use connection::exposure;
use connection::{Role, bounded, classify, on_pool};
pub use partitions::create_partition_sql;

/// History in a PostgreSQL database (its current schema).
pub struct PostgresStore {
    options: PgConnectOptions,
    readers: PgPool,
    controls: PgPool,
    workers: PgPool,
    unconfirmed: UnconfirmedLeases,
    cursors: PgPool,
    /// Work queues: apart, so that neither history nor the lease waits for workers.
    jobs: PgPool,
    writer: tokio::sync::Mutex<Option<PgConnection>>,
    partitions: partitions::Partitions,
    /// Which partition holds the lowest row, as last seen.
    lowest: AtomicI64,
}

impl PostgresStore {
    /// Connects and brings the schema up to date, beside servers on NATS if need be.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached: the
    /// caller tries again. [`StoreError::Refused`] when trying again is of no
    /// use: a malformed address, a schema of another version, or of an older one
    /// with which a server runs that must not be disturbed.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_for(url, BusKind::Nats).await
    }

    /// The same for a server with this bus. The schema of an older version is brought up to date
    /// only when the server could join: the memory bus's alone, on NATS beside others like it.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_for(url: &str, bus: BusKind) -> Result<Self, StoreError> {
        let options = connection::options(url)?;
        let mut first = connection::open(&options, Role::Schema).await?;
        if bounded(STORE_READ_TIMEOUT, is_behind(&mut first)).await? {
            // Held until this connection ends.
            membership::lock(&mut first, bus).await?.map_err(StoreError::Refused)?;
        }
        let migrated = bounded(Duration::MAX, async {
            Ok(migrator().run_direct(None, &mut first, false).await)
        });
        let migrated = migrated.await?;
        // Closing gives the migrator's lock back, whatever happened.
        let _ = first.close().await;
        migrated.map_err(schema_error)?;
        Ok(Self {
            readers: connection::pool(&options, Role::Read, STORE_READERS),
            controls: connection::pool(&options, Role::Control, STORE_CONTROLS),
            workers: connection::pool(&options, Role::Work, STORE_WORKERS),
            unconfirmed: UnconfirmedLeases::default(),
            cursors: connection::pool(&options, Role::Control, STORE_CURSORS),
            jobs: connection::tested_pool(&options, Role::Control, STORE_JOBS),
            writer: tokio::sync::Mutex::new(None),
            partitions: partitions::Partitions::default(),
            lowest: AtomicI64::new(0),
            options,
        })
    }

    async fn read<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        on_pool(&self.readers, STORE_READ_TIMEOUT, work).await
    }

    async fn control<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        on_pool(&self.controls, STORE_WRITE_TIMEOUT, work).await
    }

    /// Work on queues. Never repeated here: what was done before its answer was lost
    /// would be done twice. The pool asks a connection for a sign of life before.
    async fn job_work<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        bounded(STORE_WRITE_TIMEOUT, work).await
    }
}

/// Every step of the schema, in order; one that is out in the world never changes.
fn migrator() -> Migrator {
    let migration = |version, name: &'static str, sql| {
        let sql = SqlStr::from_static(sql);
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(vec![
        migration(1, "log", include_str!("../../../migrations/postgres/0001_log.sql")),
        migration(2, "state", include_str!("../../../migrations/postgres/0002_state.sql")),
        migration(3, "work", include_str!("../../../migrations/postgres/0003_work.sql")),
        migration(4, "jobs", include_str!("../../../migrations/postgres/0004_jobs.sql")),
        migration(5, "odd", include_str!("../../../migrations/postgres/0005_odd.sql")),
        migration(
            6,
            "queues_deleted",
            include_str!("../../../migrations/postgres/0006_queues_deleted.sql"),
        ),
    ])
}

/// Whether the schema lacks steps.
async fn is_behind(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let steps = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(steps).fetch_one(&mut *connection).await? {
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
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.control(|| sqlx::query("SELECT 1").execute(&self.controls)).await.map(|_| ())
    }

    async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        let answer = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.controls);
        bounded(STORE_READ_TIMEOUT, answer).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        self.control(|| connection::weaknesses(&self.controls)).await
    }

    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError> {
        let joined = membership::join(&self.options, bus).await?;
        Ok(joined.map(|member| Box::new(member) as Box<dyn Membership>))
    }

    async fn close(&self) {
        // A database that is away must not hold up the end.
        let _ = tokio::time::timeout(STORE_GRACE, self.give_all_back()).await;
        if let Some(writer) = self.writer.lock().await.take() {
            let _ = writer.close().await;
        }
        self.readers.close().await;
        self.controls.close().await;
        self.workers.close().await;
        self.cursors.close().await;
        self.jobs.close().await;
    }
}
