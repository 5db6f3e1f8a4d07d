//! Opens and closes the store.

use std::sync::atomic::AtomicI64;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};

use super::connection::{self, Role, bounded};
use super::{membership, migrations, partitions, rights, schema};
use crate::limits::{
    STORE_CONTROLS, STORE_CURSORS, STORE_GRACE, STORE_JOBS, STORE_READ_TIMEOUT, STORE_READERS,
    STORE_WORKERS, STORE_WRITE_TIMEOUT,
};
use crate::store::audit::AuditStore;
use crate::store::calls::Calls;
use crate::store::erasures::{self, ErasureStore};
use crate::store::error::StoreError;
use crate::store::keys::KeyStore;
use crate::store::membership::{BusKind, Membership};
use crate::store::schema::migrator;
use crate::store::schemas::SchemaStore;
use crate::store::sql::{Database as _, Pool};
use crate::store::versions::VersionStore;
use crate::store::work::unconfirmed::UnconfirmedLeases;
use crate::store::{PoolState, SchemaDifference, Store};

/// A store in the current schema of a PostgreSQL database.
pub struct PostgresStore {
    pub(super) options: PgConnectOptions,
    pub(super) readers: PgPool,
    pub(super) controls: PgPool,
    pub(super) workers: PgPool,
    pub(super) unconfirmed: UnconfirmedLeases,
    pub(super) cursors: PgPool,
    /// Work queues have a pool of their own, so that neither history nor the lease waits for workers.
    pub(super) jobs: PgPool,
    /// The calls on each pool, in the order of [`Self::named_pools`].
    pub(super) calls: [Calls; 5],
    pub(super) writer: tokio::sync::Mutex<Option<PgConnection>>,
    pub(super) partitions: partitions::Partitions,
    /// The number of the partition with the lowest row, as it was last seen.
    pub(super) lowest: AtomicI64,
}

impl PostgresStore {
    /// Connects and brings the schema up to date, even while other servers run on NATS.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be reached: the caller tries again.
    /// [`StoreError::Refused`] if trying again is of no use: a malformed address, a schema of another
    /// version with which this one cannot work, or an older schema on which a server runs that must not be
    /// disturbed.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_for(url, BusKind::Nats).await
    }

    /// Like [`Self::connect`], for a server with this bus. Brings an older schema up to date only if the
    /// server could join: on the memory bus alone, on NATS beside others on NATS.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_for(url: &str, bus: BusKind) -> Result<Self, StoreError> {
        let options = connection::options(url)?;
        let mut first = connection::open(&options, Role::Schema).await?;
        let updated = migrations::update(&mut first, bus, &migrator!("postgres")).await;
        // Closing the connection releases its locks in any case.
        let _ = first.close().await;
        updated?;
        Ok(Self::with(options))
    }

    /// Connects to a database as it is, and returns how its schema differs from that of this version. What the schema
    /// lacks, the store cannot use.
    ///
    /// # Errors
    /// As [`Self::connect`], whatever the version of the schema.
    pub async fn inspect(url: &str) -> Result<(Self, SchemaDifference), StoreError> {
        let options = connection::options(url)?;
        let mut first = connection::open(&options, Role::Control).await?;
        let difference = bounded(STORE_READ_TIMEOUT, schema::difference(&mut first)).await?;
        let _ = first.close().await;
        Ok((Self::with(options), difference))
    }

    fn with(options: PgConnectOptions) -> Self {
        Self {
            readers: connection::pool(&options, Role::Read, STORE_READERS),
            controls: connection::pool(&options, Role::Control, STORE_CONTROLS),
            workers: connection::pool(&options, Role::Work, STORE_WORKERS),
            unconfirmed: UnconfirmedLeases::default(),
            cursors: connection::pool(&options, Role::Control, STORE_CURSORS),
            jobs: connection::tested_pool(&options, Role::Control, STORE_JOBS),
            calls: Default::default(),
            writer: tokio::sync::Mutex::new(None),
            partitions: partitions::Partitions::default(),
            lowest: AtomicI64::new(0),
            options,
        }
    }

    /// Runs work on queues. It is never repeated here: if its response was lost, the work would be done
    /// twice. The pool tests a connection before it lends it.
    pub(super) async fn job_work<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let _call = self.calls_on(Pool::Jobs).begin();
        bounded(STORE_WRITE_TIMEOUT, work).await
    }

    /// The pools by the names that metrics show.
    fn named_pools(&self) -> [(&'static str, &PgPool); 5] {
        [
            ("readers", &self.readers),
            ("control", &self.controls),
            ("cursors", &self.cursors),
            ("workers", &self.workers),
            ("jobs", &self.jobs),
        ]
    }

    /// The calls on a pool.
    pub(super) fn calls_on(&self, pool: Pool) -> &Calls {
        let index = match pool {
            Pool::Readers => 0,
            Pool::Control => 1,
            Pool::Cursors => 2,
            Pool::Workers => 3,
            Pool::Jobs | Pool::JobSweep => 4,
        };
        &self.calls[index]
    }
}

impl KeyStore for PostgresStore {}
impl SchemaStore for PostgresStore {}
impl VersionStore for PostgresStore {}

impl AuditStore for PostgresStore {}

#[async_trait]
impl ErasureStore for PostgresStore {
    async fn finish_erasure(&self, seq: u64) -> Result<(), StoreError> {
        self.transaction(Pool::Workers, erasures::finish_statements(seq)).await.map(drop)
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.run(Pool::Control, || sqlx::query("SELECT 1").execute(&self.controls))
            .await
            .map(|_| ())
    }

    async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        let answer = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.controls);
        bounded(STORE_READ_TIMEOUT, answer).await
    }

    async fn weaknesses(&self) -> Result<Vec<String>, StoreError> {
        self.run(Pool::Control, || connection::weaknesses(&self.controls)).await
    }

    async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        self.run(Pool::Control, || rights::missing(&self.controls)).await
    }

    async fn join(&self, bus: BusKind) -> Result<Result<Box<dyn Membership>, String>, StoreError> {
        let joined = membership::join(&self.options, bus).await?;
        Ok(joined.map(|member| Box::new(member) as Box<dyn Membership>))
    }

    fn pools(&self) -> Vec<PoolState> {
        let state = |((name, pool), calls): ((_, &PgPool), &Calls)| {
            let idle = pool.num_idle();
            let in_use = (pool.size() as usize).saturating_sub(idle);
            let max = pool.options().get_max_connections() as usize;
            PoolState {
                name,
                max,
                in_use,
                idle,
                waiting: calls.in_progress().saturating_sub(in_use),
            }
        };
        self.named_pools().into_iter().zip(&self.calls).map(state).collect()
    }

    async fn close(&self) {
        // A database that is unreachable must not delay the shutdown.
        let _ = tokio::time::timeout(STORE_GRACE, self.release_all_unconfirmed()).await;
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
