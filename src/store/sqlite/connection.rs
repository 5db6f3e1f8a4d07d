//! Connections to the file: their settings, the writer's turn, their errors.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Error};
use tokio::sync::{Mutex, MutexGuard};

use super::time::StoreTime;
use super::wal::Wal;
use crate::limits::{
    SQLITE_CACHE_KIB, SQLITE_CHECKPOINT_PAGES, SQLITE_READERS, STORE_ACQUIRE_TIMEOUT, STORE_GRACE,
    STORE_STATEMENTS, STORE_WRITE_TIMEOUT,
};
use crate::store::error::StoreError;

/// The settings of every connection.
pub(super) fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(STORE_WRITE_TIMEOUT)
        .pragma("cache_size", format!("-{SQLITE_CACHE_KIB}"))
        .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES.to_string())
        // What is deleted is overwritten: it may be a secret.
        .pragma("secure_delete", "on")
        // Elsewhere they change nothing; macOS writes through its disk's cache only when asked so.
        .pragma("fullfsync", "on")
        .pragma("checkpoint_fullfsync", "on")
        .statement_cache_capacity(STORE_STATEMENTS)
        .disable_statement_logging()
}

pub(super) async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    bounded(options.connect()).await
}

/// Connections that cannot write.
pub(super) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .min_connections(SQLITE_READERS)
        .max_connections(SQLITE_READERS)
        .acquire_timeout(STORE_ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options.clone().pragma("query_only", "on"))
}

/// Runs work within the time that a write may take; reads take less.
pub(super) async fn bounded<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    let limit = STORE_WRITE_TIMEOUT + STORE_GRACE;
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(classify),
        Err(_) => Err(StoreError::Unavailable(format!(
            "SQLite did not answer within {} s",
            limit.as_secs()
        ))),
    }
}

/// Whether an error is about the content or about the disk. The low byte of an
/// extended code is the primary one (<https://sqlite.org/rescode.html>).
pub(super) fn classify(error: Error) -> StoreError {
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    let code = error
        .as_database_error()
        .and_then(|e| e.code())
        .and_then(|code| code.parse::<i32>().ok())
        .map(|extended| extended & 0xff);
    match code {
        Some(TOO_BIG | CONSTRAINT | MISMATCH) => StoreError::Refused(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// The one connection that writes, and the queue before its queue: of all that
/// stand behind, one at a time waits for the turn, so that the log's writer never
/// waits for more than one of them.
pub(super) struct Writer {
    place: Mutex<Option<SqliteConnection>>,
    behind: Mutex<()>,
    wal: Wal,
    time: Arc<StoreTime>,
}

/// The right to use it. Dropped without [`Turn::end`], it takes the connection
/// along: nobody finds it in the middle of a transaction.
pub(super) struct Turn<'a> {
    place: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
    _behind: Option<MutexGuard<'a, ()>>,
}

impl Writer {
    pub fn new(connection: SqliteConnection, wal: Wal, time: Arc<StoreTime>) -> Self {
        Self { place: Mutex::new(Some(connection)), behind: Mutex::new(()), wal, time }
    }

    /// Empties SQLite's log of what was deleted, now or as soon as no reader is in the way.
    pub async fn forget(&self, options: &SqliteConnectOptions) -> Result<(), StoreError> {
        self.wal.forget();
        self.turn_behind(options).await?.end(Ok(()))
    }

    /// The turn of what must not hold up the log.
    pub async fn turn_behind(
        &self,
        options: &SqliteConnectOptions,
    ) -> Result<Turn<'_>, StoreError> {
        let behind = self.behind.lock().await;
        let turn = self.turn_timed(options).await?;
        Ok(Turn { _behind: Some(behind), ..turn })
    }

    /// Waits for the turn; opens the connection again if the last one lost it.
    pub async fn turn(&self, options: &SqliteConnectOptions) -> Result<Turn<'_>, StoreError> {
        self.turn_of(options, false).await
    }

    /// The turn of what writes ends of leases and delays: the store's time is kept beside them.
    pub async fn turn_timed(&self, options: &SqliteConnectOptions) -> Result<Turn<'_>, StoreError> {
        self.turn_of(options, true).await
    }

    async fn turn_of(
        &self,
        options: &SqliteConnectOptions,
        writes_times: bool,
    ) -> Result<Turn<'_>, StoreError> {
        let mut place = self.place.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => open(options).await?,
        };
        self.wal.keep_small(&mut connection).await;
        bounded(self.time.keep(&mut connection, writes_times)).await?;
        Ok(Turn { place, connection, _behind: None })
    }

    /// The connection, to close it.
    pub async fn take(&self) -> Option<SqliteConnection> {
        self.place.lock().await.take()
    }
}

impl Turn<'_> {
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Ends the turn; after an error the connection is not used again.
    pub fn end<T>(mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_ok() {
            *self.place = Some(self.connection);
        }
        result
    }
}
