//! Runs statements and binds their values.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection as _, Error, Sqlite};

use super::SqliteStore;
use super::connection::{Turn, bounded};
use super::time::StoreTime;
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Rows, Statement, Value};

/// Binds values in their order.
pub(super) fn bind_all<'q>(
    mut statement: Query<'q, Sqlite, SqliteArguments>,
    values: &'q [Value],
    time: &StoreTime,
) -> Query<'q, Sqlite, SqliteArguments> {
    for value in values {
        statement = match value {
            Value::Int(value) => statement.bind(value),
            Value::Text(value) => statement.bind(value.as_deref()),
            Value::Uuid(value) => statement.bind(value),
            Value::Time(value) => statement.bind(value.map(|time| time.timestamp_micros())),
            Value::Bool(value) => statement.bind(value),
            Value::Bytes(value) => statement.bind(&value[..]),
            Value::Seqs(value) => statement.bind(serde_json::json!(value).to_string()),
            Value::After(value) => statement.bind(time.until(*value)),
            Value::WallTime => statement.bind(time.wall()),
        };
    }
    statement
}

/// Encodes many values as JSON for one placeholder, which the statement reads with `json_each`.
pub(super) fn json(values: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(values).map_err(|error| Error::Encode(error.into()))
}

impl SqliteStore {
    /// Waits for the turn of a statement that writes. Statements for the log and for clients do not wait
    /// behind background work.
    pub(super) async fn turn_for(&self, pool: Pool) -> Result<Turn<'_>, StoreError> {
        match pool {
            Pool::Readers | Pool::Control | Pool::Cursors | Pool::JobSweep => {
                self.writer.turn(&self.options).await
            }
            Pool::Jobs => self.writer.turn_timed(&self.options).await,
            Pool::Workers => self.writer.turn_behind(&self.options).await,
        }
    }
}

#[async_trait]
impl Database for SqliteStore {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn select(&self, _: Pool, statement: Statement) -> Result<Rows, StoreError> {
        let _call = self.reads.begin();
        let Statement { sql, values } = &statement;
        let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values, &self.time);
        bounded(query.fetch_all(&self.readers)).await.map(Rows::Sqlite)
    }

    async fn change(&self, pool: Pool, statement: Statement) -> Result<Rows, StoreError> {
        let Statement { sql, values } = &statement;
        let mut turn = self.turn_for(pool).await?;
        let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values, &self.time);
        let rows = bounded(query.fetch_all(turn.connection())).await;
        turn.end(rows).map(Rows::Sqlite)
    }

    async fn execute(&self, pool: Pool, statement: Statement) -> Result<u64, StoreError> {
        let Statement { sql, values } = &statement;
        let mut turn = self.turn_for(pool).await?;
        let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values, &self.time);
        let done = bounded(query.execute(turn.connection())).await;
        Ok(turn.end(done)?.rows_affected())
    }

    async fn transaction(
        &self,
        pool: Pool,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, StoreError> {
        let mut turn = self.turn_for(pool).await?;
        let done = bounded(async {
            let mut transaction = turn.connection().begin_with("BEGIN IMMEDIATE").await?;
            let mut returned = Vec::with_capacity(statements.len());
            for Statement { sql, values } in &statements {
                let query = bind_all(sqlx::query(AssertSqlSafe(&**sql)), values, &self.time);
                returned.push(Rows::Sqlite(query.fetch_all(&mut *transaction).await?));
            }
            transaction.commit().await?;
            Ok(returned)
        })
        .await;
        turn.end(done)
    }

    fn due(&self, row: Row<'_>, column: &str) -> Result<DateTime<Utc>, Error> {
        Ok(self.time.to_wall(row.get(column)?))
    }
}

/// Runs work on the writing connection, in a turn for a [`Pool`].
macro_rules! in_turn {
    ($store:expr, $pool:ident, $connection:ident => $work:expr) => {{
        let mut turn = $store.turn_for($crate::store::sql::Pool::$pool).await?;
        let $connection = turn.connection();
        let done = $crate::store::sqlite::connection::bounded($work).await;
        turn.end(done)
    }};
}
pub(super) use in_turn;
