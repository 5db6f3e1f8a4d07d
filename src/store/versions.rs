//! The numbers by which a server sees that keys, schemas or erasures have changed.
//!
//! Invariant: each change raises its number in the same transaction. A server that read number `n` has seen every change
//! up to it.

use async_trait::async_trait;

use super::error::StoreError;
use super::sql::{Database, Pool, Statement};

/// The numbers. Each is another one when anything of its kind has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of keys and sessions.
    pub keys: u64,
    /// Of payload schemas.
    pub schemas: u64,
    /// Of finished erasures.
    pub erasures: u64,
}

/// The part of a store that holds the numbers.
#[async_trait]
pub trait VersionStore: Database {
    /// All numbers, in one read.
    async fn versions(&self) -> Result<Versions, StoreError> {
        let rows = self.select(Pool::Control, Statement::new(VERSIONS)).await?;
        let read = rows.first(|row| {
            let (keys, schemas) = (row.seq("keys")?, row.seq("schemas")?);
            Ok(Versions { keys, schemas, erasures: row.seq("erasures")? })
        })?;
        Ok(read.unwrap_or_default())
    }
}

/// Reads all numbers.
pub(super) const VERSIONS: &str = "SELECT keys, schemas, erasures FROM versions";
