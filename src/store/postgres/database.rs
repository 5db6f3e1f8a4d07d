//! Runs statements and binds their values.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Error, Postgres};

use super::PostgresStore;
use super::connection::{bounded, on_pool};
use crate::limits::{STORE_READ_TIMEOUT, STORE_WRITE_TIMEOUT};
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Rows, Statement, Value, to_micros};

/// A duration as PostgreSQL takes it, cut to a century.
pub(super) fn interval(duration: Duration) -> PgInterval {
    let century = Duration::from_secs(100 * 365 * 86_400);
    PgInterval { months: 0, days: 0, microseconds: to_micros(duration.min(century)) }
}

/// Binds values in their order.
pub(super) fn bind_all<'q>(
    mut statement: Query<'q, Postgres, PgArguments>,
    values: &'q [Value],
) -> Query<'q, Postgres, PgArguments> {
    for value in values {
        statement = match value {
            Value::Int(value) => statement.bind(value),
            Value::Text(value) => statement.bind(value.as_deref()),
            Value::Uuid(value) => statement.bind(value),
            Value::Time(value) => statement.bind(value),
            Value::Bool(value) => statement.bind(value),
            Value::Bytes(value) => statement.bind(&value[..]),
            Value::Seqs(value) => statement.bind(value),
            Value::After(value) => statement.bind(interval(*value)),
            // Never bound here: statements call `clock_timestamp()` instead (`Dialect::bind_wall_time`).
            Value::WallTime => statement,
        };
    }
    statement
}

impl PostgresStore {
    fn pool(&self, pool: Pool) -> &PgPool {
        match pool {
            Pool::Readers => &self.readers,
            Pool::Control => &self.controls,
            Pool::Cursors => &self.cursors,
            Pool::Workers => &self.workers,
            Pool::Jobs | Pool::JobSweep => &self.jobs,
        }
    }

    /// Runs work on a pool within its time limit. Except on the pool of jobs, the work is repeated if its
    /// connection had ended, so it must be idempotent.
    pub(super) async fn run<T, F>(&self, pool: Pool, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let _call = self.calls_on(pool).begin();
        match pool {
            Pool::Jobs | Pool::JobSweep => bounded(STORE_WRITE_TIMEOUT, work()).await,
            Pool::Readers => on_pool(&self.readers, STORE_READ_TIMEOUT, work).await,
            other => on_pool(self.pool(other), STORE_WRITE_TIMEOUT, work).await,
        }
    }
}

#[async_trait]
impl Database for PostgresStore {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn select(&self, pool: Pool, statement: Statement) -> Result<Rows, StoreError> {
        let Statement { sql, values } = &statement;
        let query = || bind_all(sqlx::query(AssertSqlSafe(&**sql)), values);
        self.run(pool, || query().fetch_all(self.pool(pool))).await.map(Rows::Postgres)
    }

    async fn change(&self, pool: Pool, statement: Statement) -> Result<Rows, StoreError> {
        self.select(pool, statement).await
    }

    async fn execute(&self, pool: Pool, statement: Statement) -> Result<u64, StoreError> {
        let Statement { sql, values } = &statement;
        let query = || bind_all(sqlx::query(AssertSqlSafe(&**sql)), values);
        let done = self.run(pool, || query().execute(self.pool(pool))).await?;
        Ok(done.rows_affected())
    }

    async fn transaction(
        &self,
        pool: Pool,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, StoreError> {
        self.run(pool, async || {
            let mut transaction = self.pool(pool).begin().await?;
            let mut returned = Vec::with_capacity(statements.len());
            for Statement { sql, values } in &statements {
                let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values);
                returned.push(Rows::Postgres(query.fetch_all(&mut *transaction).await?));
            }
            transaction.commit().await?;
            Ok(returned)
        })
        .await
    }

    fn due(&self, row: Row<'_>, column: &str) -> Result<DateTime<Utc>, Error> {
        row.time_set(column)
    }
}
