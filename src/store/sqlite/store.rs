//! Opens and closes the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};

use super::connection::{self, Writer, bounded, classify};
use super::files::{self, DATABASE_FILE};
use super::membership;
use super::time::{Clocks, StoreTime};
use super::wal::{self, Wal};
use crate::limits::STORE_GRACE;
use crate::store::audit::AuditStore;
use crate::store::calls::Calls;
use crate::store::erasures::{self, ErasureStore};
use crate::store::error::StoreError;
use crate::store::keys::KeyStore;
use crate::store::membership::{BusKind, Membership};
use crate::store::schema::{APPLIED, SchemaDifference, migrator, schema_error};
use crate::store::schemas::SchemaStore;
use crate::store::sql::{Database as _, Pool};
use crate::store::versions::VersionStore;
use crate::store::work::unconfirmed::UnconfirmedLeases;
use crate::store::{PoolState, Store, StoreFiles};

/// A store in a SQLite file.
pub struct SqliteStore {
    pub(super) dir: PathBuf,
    pub(super) options: SqliteConnectOptions,
    pub(super) readers: SqlitePool,
    /// The selects on `readers`.
    pub(super) reads: Calls,
    pub(super) writer: Writer,
    pub(super) unconfirmed: UnconfirmedLeases,
    pub(super) time: Arc<StoreTime>,
}

impl SqliteStore {
    /// Opens the database in a directory, and creates both if they are missing. Brings the schema up to date
    /// if no process runs on it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the disk fails; [`StoreError::Refused`] if the schema is of a
    /// version with which this one cannot work, or is older and another process runs on it.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_by(dir, Clocks::system()).await
    }

    /// How the schema of the database in a directory differs from that of this version. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if there is no database, or the disk fails.
    pub async fn inspect(dir: &Path) -> Result<SchemaDifference, StoreError> {
        let options = connection::options(&dir.join(DATABASE_FILE)).create_if_missing(false);
        let mut connection = connection::open(&options).await?;
        bounded(difference(&mut connection)).await
    }

    /// Like [`Self::open`], with other clocks.
    pub(super) async fn open_by(dir: &Path, clocks: Clocks) -> Result<Self, StoreError> {
        files::prepare(dir)?;
        let file = dir.join(DATABASE_FILE);
        let options = connection::options(&file);
        let mut first = connection::open(&options).await?;
        let difference = bounded(difference(&mut first)).await?;
        if let Some(reason) = difference.refusal() {
            return Err(StoreError::Refused(reason));
        }
        difference.log();
        let lock = match difference.missing.is_empty() {
            true => None,
            false => Some(membership::lock(dir).await?.map_err(StoreError::Refused)?),
        };
        let migrated = migrator!("sqlite").run_direct(None, &mut first, false).await;
        migrated.map_err(|error| schema_error(error, classify))?;
        drop(lock);
        let time = Arc::new(bounded(StoreTime::open(&mut first, clocks)).await?);
        Ok(Self {
            dir: dir.to_owned(),
            readers: connection::readers(&options),
            reads: Calls::default(),
            writer: Writer::new(first, Wal::of(&file), Arc::clone(&time)),
            unconfirmed: UnconfirmedLeases::default(),
            time,
            options,
        })
    }
}

/// Compares the schema with the one of this version.
async fn difference(connection: &mut SqliteConnection) -> Result<SchemaDifference, sqlx::Error> {
    let steps = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let applied = match sqlx::query_scalar::<_, i64>(steps).fetch_one(&mut *connection).await? {
        0 => Vec::new(),
        _ => sqlx::query_as(APPLIED).fetch_all(connection).await?,
    };
    Ok(SchemaDifference::of(applied, &migrator!("sqlite")))
}

impl KeyStore for SqliteStore {}
impl SchemaStore for SqliteStore {}
impl VersionStore for SqliteStore {}

impl AuditStore for SqliteStore {}

#[async_trait]
impl ErasureStore for SqliteStore {
    async fn finish_erasure(&self, seq: u64) -> Result<(), StoreError> {
        self.transaction(Pool::Workers, erasures::finish_statements(seq)).await?;
        // The message must not stay in the write-ahead log either.
        self.writer.forget(&self.options).await
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

    /// A file has no clock of its own: this is the wall clock of the process.
    async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(DateTime::from_timestamp_micros(self.time.wall()).unwrap_or_default())
    }

    /// None: every connection is opened with the settings in the module `connection`.
    async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError> {
        let joined = membership::join(&self.dir, bus).await?;
        Ok(joined.map(|member| Box::new(member) as Box<dyn Membership>))
    }

    fn pools(&self) -> Vec<PoolState> {
        let idle = self.readers.num_idle();
        let in_use = (self.readers.size() as usize).saturating_sub(idle);
        let readers = PoolState {
            name: "readers",
            max: self.readers.options().get_max_connections() as usize,
            in_use,
            idle,
            waiting: self.reads.in_progress().saturating_sub(in_use),
        };
        vec![readers, self.writer.state()]
    }

    fn files(&self) -> Option<StoreFiles> {
        let disk = rustix::fs::statvfs(&self.dir).ok()?;
        let database = self.dir.join(DATABASE_FILE);
        Some(StoreFiles {
            database: database.metadata().ok()?.len(),
            wal: wal::bytes(&wal::file_of(&database)),
            disk_free: disk.f_bavail * disk.f_frsize,
            disk: disk.f_blocks * disk.f_frsize,
        })
    }

    async fn close(&self) {
        // A disk that does not respond must not delay the shutdown.
        let _ = tokio::time::timeout(STORE_GRACE, self.release_all_unconfirmed()).await;
        self.readers.close().await;
        if let Some(connection) = self.writer.take().await {
            let _ = connection.close().await;
        }
    }
}
