//! Opens the store of the server's settings, beside servers that run on it.
//!
//! Invariant: the command does not join as a server does, so it neither stops one nor is stopped by one.

use std::sync::Arc;

use crate::config::StoreConfig;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::{DATABASE_FILE, SqliteStore};
use crate::store::{SchemaDifference, Store, StoreError};

/// Whether the store can hold anything yet: a SQLite file that does not exist holds nothing.
#[must_use]
pub fn exists(config: &StoreConfig) -> bool {
    match config {
        StoreConfig::Sqlite(dir) => dir.join(DATABASE_FILE).exists(),
        StoreConfig::Postgres(_) => true,
    }
}

/// Fails unless [`exists`].
///
/// # Errors
/// The store's name, and that it does not exist.
pub fn check_exists(config: &StoreConfig) -> Result<(), String> {
    if exists(config) { Ok(()) } else { Err(format!("{} does not exist", name(config))) }
}

/// The store's name for people, without a password.
#[must_use]
pub fn name(config: &StoreConfig) -> String {
    match config {
        StoreConfig::Sqlite(dir) => format!("the SQLite file in {}", dir.display()),
        StoreConfig::Postgres(_) => "the database of DATABASE_URL".to_owned(),
    }
}

/// Compares the schema of the store with that of this version, and opens the store as it is. A SQLite file with another
/// schema stays closed.
///
/// # Errors
/// The reason and what to check.
pub async fn inspect(
    config: &StoreConfig,
) -> Result<(Option<Arc<dyn Store>>, SchemaDifference), String> {
    match config {
        StoreConfig::Sqlite(dir) => {
            let difference = SqliteStore::inspect(dir).await.map_err(sqlite_failure)?;
            let opens = difference.missing.is_empty() && difference.refusal().is_none();
            let store = if opens { Some(open(config).await?) } else { None };
            Ok((store, difference))
        }
        StoreConfig::Postgres(url) => {
            let (store, difference) =
                PostgresStore::inspect(url).await.map_err(postgres_failure)?;
            Ok((Some(Arc::new(store)), difference))
        }
    }
}

/// Opens the store. Like every start of a server, this migrates the tables of an older version.
///
/// # Errors
/// The reason and what to check.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, String> {
    Ok(match config {
        StoreConfig::Sqlite(dir) => Arc::new(SqliteStore::open(dir).await.map_err(sqlite_failure)?),
        StoreConfig::Postgres(url) => {
            Arc::new(PostgresStore::connect(url).await.map_err(postgres_failure)?)
        }
    })
}

fn sqlite_failure(error: StoreError) -> String {
    format!("{error}. Check that DATA_DIR is writable and its disk is not full")
}

fn postgres_failure(error: StoreError) -> String {
    format!(
        "{error}. Check that DATABASE_URL names a running server, an existing database and a user that may \
         create tables"
    )
}
