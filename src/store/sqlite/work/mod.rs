//! Background processing in SQLite, for one process.
//!
//! Invariants: a call is one statement or one transaction for a batch, on the connection that writes, behind
//! the log's own writes. Times are by the store's time.

pub(super) mod dead_letters;
mod feed;
mod set_aside;
mod settle;

use async_trait::async_trait;
use uuid::Uuid;

use super::SqliteStore;
use crate::store::StoreError;
use crate::store::sql::{Database, Pool};
use crate::store::work::webhooks::delete_statement;
use crate::store::work::{ConsumerStore, RowLock, WebhookStore};

/// A lock on a consumer or queue that does nothing, since no other process uses the store.
pub(super) struct NoLock;

impl RowLock for NoLock {}

#[async_trait]
impl ConsumerStore for SqliteStore {
    async fn lock_consumer(
        &self,
        name: &str,
        generation: i64,
    ) -> Result<Option<Box<dyn RowLock>>, StoreError> {
        let found = self.consumer(name).await?.filter(|found| found.generation == generation);
        Ok(found.map(|_| Box::new(NoLock) as Box<dyn RowLock>))
    }
}

#[async_trait]
impl WebhookStore for SqliteStore {
    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        let deleted = self.execute(Pool::Workers, delete_statement(id)).await? == 1;
        if deleted {
            // The webhook's secret must not stay in the write-ahead log either.
            self.writer.forget(&self.options).await?;
        }
        Ok(deleted)
    }
}
