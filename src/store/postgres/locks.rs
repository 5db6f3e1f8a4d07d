//! Locks on consumers and queues: transactions that only hold a lock.

use async_trait::async_trait;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Error, Postgres, Transaction};

use super::PostgresStore;
use crate::limits::CONSUMER_LOCK_TIMEOUT;
use crate::store::StoreError;
use crate::store::sql::Pool;
use crate::store::work::{ConsumerStore, RowLock};

/// A transaction that holds a lock. Dropping it ends both.
struct HeldLock {
    _transaction: Transaction<'static, Postgres>,
}

impl RowLock for HeldLock {}

/// Begins a transaction that the database ends if it is idle for too long.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    let mut transaction = pool.begin().await?;
    let timeout = format!(
        "SET LOCAL idle_in_transaction_session_timeout = {}",
        CONSUMER_LOCK_TIMEOUT.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(timeout)).execute(&mut *transaction).await?;
    Ok(transaction)
}

#[async_trait]
impl ConsumerStore for PostgresStore {
    async fn lock_consumer(
        &self,
        name: &str,
        generation: i64,
    ) -> Result<Option<Box<dyn RowLock>>, StoreError> {
        self.run(Pool::Workers, async || {
            let mut transaction = begin(&self.workers).await?;
            // After a wait for another process's lock, PostgreSQL tests the row again as it is then.
            let locked = sqlx::query(
                "SELECT FROM consumers WHERE name = $1 AND generation = $2 FOR NO KEY UPDATE",
            )
            .bind(name)
            .bind(generation)
            .fetch_optional(&mut *transaction)
            .await?;
            let lock = locked.map(|_| HeldLock { _transaction: transaction });
            Ok(lock.map(|lock| Box::new(lock) as Box<dyn RowLock>))
        })
        .await
    }
}

impl PostgresStore {
    /// Locks the consumers of a queue, whether the queue exists or not. It uses no connection of the jobs'
    /// pool, since the holder of the lock needs those.
    pub(super) async fn lock_consumers_of(
        &self,
        queue: &str,
    ) -> Result<Box<dyn RowLock>, StoreError> {
        self.run(Pool::Workers, async || {
            let mut transaction = begin(&self.workers).await?;
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(format!("agentbus consumers of queue {queue}"))
                .execute(&mut *transaction)
                .await?;
            Ok(Box::new(HeldLock { _transaction: transaction }) as Box<dyn RowLock>)
        })
        .await
    }
}
