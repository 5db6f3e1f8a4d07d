//! The store in PostgreSQL, for any number of servers.
//!
//! Invariants: a write is one statement on one connection that is kept for the
//! writer's life; reads, and lease and watermark, have pools of their own, so
//! that neither waits for the other. Every statement ends by itself (the
//! database's `statement_timeout`) or with its connection (a time-out here).

mod connection;
mod lease;
mod membership;
mod originals;
mod partitions;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{Connection, SqlStr};
use uuid::Uuid;

use super::{
    BusKind, Counts, Hole, Lease, LogState, Membership, Original, Page, Store, StoreError, Stored,
    Write,
};
use crate::limits::{STORE_CONTROLS, STORE_READ_TIMEOUT, STORE_READERS, STORE_WRITE_TIMEOUT};
use crate::message::{Query, Token};
use connection::{Role, bounded, classify};

/// History in a PostgreSQL database (its current schema).
pub struct PostgresStore {
    options: PgConnectOptions,
    readers: PgPool,
    controls: PgPool,
    writer: tokio::sync::Mutex<Option<PgConnection>>,
    partitions: partitions::Partitions,
}

impl PostgresStore {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached: the
    /// caller tries again. [`StoreError::Refused`] when trying again is of no
    /// use: a malformed address, or a schema of another version.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = connection::options(url)?;
        let mut first = connection::open(&options, Role::Schema).await?;
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
            writer: tokio::sync::Mutex::new(None),
            partitions: partitions::Partitions::default(),
            options,
        })
    }
}

fn migrator() -> Migrator {
    let log = SqlStr::from_static(include_str!("../../../migrations/postgres/0001_log.sql"));
    Migrator::with_migrations(vec![Migration::new(
        1,
        "log".into(),
        MigrationType::Simple,
        log,
        false,
    )])
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
        let answer = sqlx::query("SELECT 1").execute(&self.controls);
        bounded(STORE_READ_TIMEOUT, answer).await.map(|_| ())
    }

    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError> {
        let joined = membership::join(&self.options, bus).await?;
        Ok(joined.map(|member| Box::new(member) as Box<dyn Membership>))
    }

    async fn log_state(&self) -> Result<LogState, StoreError> {
        bounded(STORE_READ_TIMEOUT, lease::log_state(&self.controls)).await
    }

    async fn set_log(
        &self,
        lease: &Lease,
        bus: BusKind,
        epoch: Option<Uuid>,
    ) -> Result<(), StoreError> {
        let moved = bounded(STORE_WRITE_TIMEOUT, lease::set_log(&self.controls, lease, bus, epoch));
        lease::unless_fenced(moved.await?)
    }

    async fn claim(
        &self,
        owner: Uuid,
        lease_for: Duration,
        force: bool,
    ) -> Result<Option<Lease>, StoreError> {
        bounded(STORE_WRITE_TIMEOUT, lease::claim(&self.controls, owner, lease_for, force)).await
    }

    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError> {
        let moved = bounded(STORE_WRITE_TIMEOUT, lease::renew(&self.controls, lease, lease_for));
        lease::unless_fenced(moved.await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        bounded(STORE_WRITE_TIMEOUT, lease::release(&self.controls, lease)).await.map(|_| ())
    }

    async fn write(&self, lease: &Lease, write: Write<'_>) -> Result<(), StoreError> {
        self.partitions.ensure(&self.controls, &write).await?;
        let mut slot = self.writer.lock().await;
        // Out of the slot while in use: a write that is dropped half-way takes
        // its connection along, and the database rolls back.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => connection::open(&self.options, Role::Write).await?,
        };
        let moved =
            bounded(STORE_WRITE_TIMEOUT, write::write(&mut connection, lease, &write)).await;
        match moved {
            Ok(moved) => {
                *slot = Some(connection);
                lease::unless_fenced(moved)
            }
            Err(error) => {
                if matches!(error, StoreError::Refused(_)) {
                    *slot = Some(connection);
                }
                self.partitions.forget();
                Err(error)
            }
        }
    }

    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Stored>, StoreError> {
        bounded(STORE_READ_TIMEOUT, read::find(&self.readers, ids)).await
    }

    async fn original(&self, seq: u64) -> Result<Option<Original>, StoreError> {
        let found = bounded(STORE_READ_TIMEOUT, originals::from(&self.readers, seq, 1)).await?;
        Ok(found.into_iter().next().filter(|row| row.stored.seq == seq))
    }

    async fn originals(&self, from: u64, limit: usize) -> Result<Vec<Original>, StoreError> {
        bounded(STORE_READ_TIMEOUT, originals::from(&self.readers, from, limit)).await
    }

    async fn page(&self, query: &Query) -> Result<Page, StoreError> {
        bounded(STORE_READ_TIMEOUT, read::page(&self.readers, query)).await
    }

    async fn holes(&self, from: u64, to: u64, limit: usize) -> Result<Vec<Hole>, StoreError> {
        bounded(STORE_READ_TIMEOUT, read::holes(&self.readers, from, to, limit)).await
    }

    async fn counts(&self, task: Option<&Token>) -> Result<Counts, StoreError> {
        bounded(STORE_READ_TIMEOUT, read::counts(&self.readers, task)).await
    }

    async fn close(&self) {
        if let Some(writer) = self.writer.lock().await.take() {
            let _ = writer.close().await;
        }
        self.readers.close().await;
        self.controls.close().await;
    }
}
