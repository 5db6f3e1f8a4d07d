//! Background processing in PostgreSQL, by any number of workers on any number of servers.
//!
//! Invariants: a call is one statement or one transaction for a batch; times are by the database's clock. A
//! statement that leases messages skips locked rows; a statement that waits for rows locks them in order of
//! sequence. So there is no deadlock.

mod dead_letters;
mod feed;
mod set_aside;
mod settle;

use async_trait::async_trait;
use uuid::Uuid;

use super::PostgresStore;
use crate::store::StoreError;
use crate::store::sql::{Database, Pool};
use crate::store::work::WebhookStore;
use crate::store::work::webhooks::delete_statement;

#[async_trait]
impl WebhookStore for PostgresStore {
    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.execute(Pool::Workers, delete_statement(id)).await? == 1)
    }
}
