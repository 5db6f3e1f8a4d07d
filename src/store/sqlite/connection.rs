//! Connections to the file: settings, the writer's turns, classification of errors.

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
use crate::store::PoolState;
use crate::store::calls::Calls;
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
        // Overwrites deleted content, which may be a secret.
        .pragma("secure_delete", "on")
        // On macOS `fsync` does not flush the disk's cache. No effect on other systems.
        .pragma("fullfsync", "on")
        .pragma("checkpoint_fullfsync", "on")
        .statement_cache_capacity(STORE_STATEMENTS)
        .disable_statement_logging()
}

pub(super) async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    bounded(options.connect()).await
}

/// A pool of connections that cannot write.
pub(super) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .min_connections(SQLITE_READERS)
        .max_connections(SQLITE_READERS)
        .acquire_timeout(STORE_ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options.clone().pragma("query_only", "on"))
}

/// Runs work within the time limit of a write.
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

/// Tells whether SQLite refused the content or the disk failed. The low byte of an extended code is the
/// primary code (<https://sqlite.org/rescode.html>).
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

/// The one connection that writes. Background work waits in a queue of its own, and only the first in that
/// queue waits for the connection, so the log's writer never waits for more than one piece of it.
pub(super) struct Writer {
    slot: Mutex<Option<SqliteConnection>>,
    background: Mutex<()>,
    /// Turns that wait for the connection.
    turns: Calls,
    wal: Wal,
    time: Arc<StoreTime>,
}

/// The exclusive use of the writer. If it is dropped without [`Turn::end`], it drops the connection, so that
/// no transaction stays open on it.
pub(super) struct Turn<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
    _background: Option<MutexGuard<'a, ()>>,
}

impl Writer {
    pub fn new(connection: SqliteConnection, wal: Wal, time: Arc<StoreTime>) -> Self {
        Self {
            slot: Mutex::new(Some(connection)),
            background: Mutex::new(()),
            turns: Calls::default(),
            wal,
            time,
        }
    }

    /// Removes deleted content from the WAL: now, or as soon as no reader prevents it.
    pub async fn forget(&self, options: &SqliteConnectOptions) -> Result<(), StoreError> {
        self.wal.forget();
        self.turn_behind(options).await?.end(Ok(()))
    }

    /// Waits for a turn for work that must not delay the log.
    pub async fn turn_behind(
        &self,
        options: &SqliteConnectOptions,
    ) -> Result<Turn<'_>, StoreError> {
        let background = self.background.lock().await;
        let turn = self.turn_timed(options).await?;
        Ok(Turn { _background: Some(background), ..turn })
    }

    /// Waits for a turn. Opens the connection again if the last turn dropped it.
    pub async fn turn(&self, options: &SqliteConnectOptions) -> Result<Turn<'_>, StoreError> {
        self.turn_of(options, false).await
    }

    /// Waits for a turn for work that writes ends of leases or delays: this turn saves the store's time too.
    pub async fn turn_timed(&self, options: &SqliteConnectOptions) -> Result<Turn<'_>, StoreError> {
        self.turn_of(options, true).await
    }

    async fn turn_of(
        &self,
        options: &SqliteConnectOptions,
        writes_times: bool,
    ) -> Result<Turn<'_>, StoreError> {
        let waiting = self.turns.begin();
        let mut slot = self.slot.lock().await;
        drop(waiting);
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => open(options).await?,
        };
        self.wal.keep_small(&mut connection).await;
        bounded(self.time.save(&mut connection, writes_times)).await?;
        Ok(Turn { slot, connection, _background: None })
    }

    /// The connection as a pool of one.
    pub fn state(&self) -> PoolState {
        let in_use = usize::from(self.slot.try_lock().is_err());
        let waiting = self.turns.in_progress();
        PoolState { name: "writer", max: 1, in_use, idle: 1 - in_use, waiting }
    }

    /// Takes the connection out, to close it.
    pub async fn take(&self) -> Option<SqliteConnection> {
        self.slot.lock().await.take()
    }
}

impl Turn<'_> {
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Ends the turn. After an error the connection is not used again.
    pub fn end<T>(mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_ok() {
            *self.slot = Some(self.connection);
        }
        result
    }
}
