//! Background processing in PostgreSQL, by any number of workers on any number of servers.
//!
//! Invariants: a call is one statement or one transaction, on a batch; times are the database's. A statement that leases
//! messages skips locked rows; a statement that waits for rows locks them in order of sequence. So there is no deadlock.

mod dead_letters;
mod feed;
mod set_aside;
mod settle;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::PostgresStore;
use super::connection::on_pool;
use crate::limits::STORE_WRITE_TIMEOUT;
use crate::store::StoreError;
use crate::store::sql::{Database, Pool};
use crate::store::work::WebhookStore;
use crate::store::work::webhooks::delete_statement;

impl PostgresStore {
    pub(super) async fn work<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        on_pool(&self.workers, STORE_WRITE_TIMEOUT, work).await
    }
}

#[async_trait]
impl WebhookStore for PostgresStore {
    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.execute(Pool::Workers, delete_statement(id)).await? == 1)
    }
}
