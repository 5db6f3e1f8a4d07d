//! Runs statements, and binds their values.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};

use super::SqliteStore;
use super::connection::{Turn, bounded};
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Rows, Statement, Value};

/// Binds values in their order.
pub(super) fn bind_all<'q>(
    mut statement: Query<'q, Sqlite, SqliteArguments>,
    values: &'q [Value],
) -> Query<'q, Sqlite, SqliteArguments> {
    for value in values {
        statement = match value {
            Value::Int(value) => statement.bind(value),
            Value::Text(value) => statement.bind(value.as_deref()),
            Value::Uuid(value) => statement.bind(value),
            Value::Time(value) => statement.bind(value.map(|time| time.timestamp_micros())),
            Value::Bool(value) => statement.bind(value),
            Value::Bytes(value) => statement.bind(&value[..]),
        };
    }
    statement
}

impl SqliteStore {
    /// The turn of a statement that changes something: what moves the log, or is asked for by a client, does not
    /// wait behind background work.
    async fn turn_for(&self, pool: Pool) -> Result<Turn<'_>, StoreError> {
        match pool {
            Pool::Readers | Pool::Control | Pool::Cursors => self.writer.turn(&self.options).await,
            Pool::Workers | Pool::Jobs => self.writer.turn_behind(&self.options).await,
        }
    }
}

#[async_trait]
impl Database for SqliteStore {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn select(&self, _: Pool, statement: Statement) -> Result<Rows, StoreError> {
        let Statement { sql, values } = &statement;
        let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values);
        bounded(query.fetch_all(&self.readers)).await.map(Rows::Sqlite)
    }

    async fn change(&self, pool: Pool, statement: Statement) -> Result<Rows, StoreError> {
        let Statement { sql, values } = &statement;
        let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values);
        let mut turn = self.turn_for(pool).await?;
        let rows = bounded(query.fetch_all(turn.connection())).await;
        turn.end(rows).map(Rows::Sqlite)
    }

    async fn execute(&self, pool: Pool, statement: Statement) -> Result<u64, StoreError> {
        let Statement { sql, values } = &statement;
        let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values);
        let mut turn = self.turn_for(pool).await?;
        let done = bounded(query.execute(turn.connection())).await;
        Ok(turn.end(done)?.rows_affected())
    }
}
