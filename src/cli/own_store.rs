//! Opens the store of the server's settings, beside servers that run on it.
//!
//! Invariant: the command does not join as a server does, so it neither stops one nor is stopped by one.

use std::sync::Arc;

use crate::config::StoreConfig;
use crate::store::Store;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::{DATABASE_FILE, SqliteStore};

/// Whether the store can hold anything yet: a SQLite file that does not exist holds nothing.
#[must_use]
pub fn exists(config: &StoreConfig) -> bool {
    match config {
        StoreConfig::Sqlite(dir) => dir.join(DATABASE_FILE).exists(),
        StoreConfig::Postgres(_) => true,
    }
}

/// The store's name for people, without a password.
#[must_use]
pub fn name(config: &StoreConfig) -> String {
    match config {
        StoreConfig::Sqlite(dir) => format!("the SQLite file in {}", dir.display()),
        StoreConfig::Postgres(_) => "the database of DATABASE_URL".to_owned(),
    }
}

/// Opens the store. Like every start of a server, this migrates the tables of an older version.
///
/// # Errors
/// The reason and what to check.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, String> {
    match config {
        StoreConfig::Sqlite(dir) => match SqliteStore::open(dir).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => {
                Err(format!("{error}. Check that DATA_DIR is writable and its disk is not full"))
            }
        },
        StoreConfig::Postgres(url) => match PostgresStore::connect(url).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(format!(
                "{error}. Check that DATABASE_URL names a running server, an existing database and a \
                 user that may create tables"
            )),
        },
    }
}
