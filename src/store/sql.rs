//! Statements with the same text in both databases, and rows that one function decodes for both.
//!
//! If the SQL is the same, a store trait implements a method once, in its own body: it builds a
//! [`Statement`], runs it on [`Database`], and decodes the [`Rows`]. If the databases differ in more than a
//! word, each implements the method beside its SQL. Invariant: a time is `timestamptz` in PostgreSQL and
//! microseconds since 1970 in SQLite; only this file, `postgres/` and `sqlite/` know the difference.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Error, Postgres, Row as _, Sqlite, Type};
use uuid::Uuid;

use super::error::StoreError;
use crate::limits::INSERT_SIZES;

/// The dialect of SQL to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL 13 and later.
    Postgres,
    /// SQLite 3.38 and later.
    Sqlite,
}

impl Dialect {
    /// SQL for a time by the store's clock. The placeholder is a [`Duration`] from now. PostgreSQL evaluates
    /// the time for each row.
    pub(super) fn after(self, placeholder: &str) -> String {
        match self {
            Self::Postgres => format!("clock_timestamp() + {placeholder}"),
            Self::Sqlite => placeholder.to_owned(),
        }
    }

    /// SQL for the microseconds from the time of [`Self::after`] until `time`.
    pub(super) fn micros_until(self, time: &str, placeholder: &str) -> String {
        match self {
            Self::Postgres => format!(
                "(extract(epoch FROM {time} - clock_timestamp() - {placeholder}) * 1000000)::bigint"
            ),
            Self::Sqlite => format!("{time} - {placeholder}"),
        }
    }

    /// SQL for `time` plus a number of microseconds.
    pub(super) fn plus_micros(self, time: &str, micros: &str) -> String {
        match self {
            Self::Postgres => format!("{time} + ({micros}) * interval '1 microsecond'"),
            Self::Sqlite => format!("{time} + ({micros})"),
        }
    }

    /// SQL for the current time by the wall clock; [`Self::bind_wall_time`] binds the placeholder.
    pub(super) fn wall_time(self, placeholder: &'static str) -> &'static str {
        match self {
            Self::Postgres => "clock_timestamp()",
            Self::Sqlite => placeholder,
        }
    }

    /// Binds the wall clock's time for SQLite; PostgreSQL reads its own clock.
    pub(super) fn bind_wall_time(self, statement: Statement) -> Statement {
        match self {
            Self::Postgres => statement,
            Self::Sqlite => statement.bind(Value::WallTime),
        }
    }

    /// SQL for the test that a value is one of the sequences in the placeholder.
    pub(super) fn is_any(self, placeholder: &str) -> String {
        match self {
            Self::Postgres => format!("= ANY({placeholder})"),
            Self::Sqlite => format!("IN (SELECT value FROM json_each({placeholder}))"),
        }
    }
}

/// A value to bind, in the order of the placeholders `$1`, `$2` …
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A sequence, a count or a number of rows.
    Int(Option<i64>),
    /// A name or another text.
    Text(Option<String>),
    /// An id.
    Uuid(Option<Uuid>),
    /// A time.
    Time(Option<DateTime<Utc>>),
    /// A flag.
    Bool(bool),
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// Sequences: an array in PostgreSQL, JSON in SQLite.
    Seqs(Vec<i64>),
    /// A duration from now, by the store's clock; see [`Dialect::after`].
    After(Duration),
    /// The wall clock's time; see [`Dialect::bind_wall_time`].
    WallTime,
}

macro_rules! value_from {
    ($($variant:ident: $($type:ty),+;)+) => {$($(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(Some(value.into()))
            }
        }
        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Self {
                Self::$variant(value.map(Into::into))
            }
        }
    )+)+};
}

value_from! {
    Int: i64;
    Text: String, &str;
    Uuid: Uuid;
    Time: DateTime<Utc>;
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&[u64]> for Value {
    fn from(seqs: &[u64]) -> Self {
        Self::Seqs(seqs.iter().copied().map(to_db).collect())
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::After(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A statement and its values.
#[derive(Clone)]
pub struct Statement {
    /// The SQL, with the placeholders `$1`, `$2` …
    pub sql: Cow<'static, str>,
    /// The values of the placeholders.
    pub values: Vec<Value>,
}

/// Without the values: they can be secrets.
impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("sql", &self.sql).finish_non_exhaustive()
    }
}

impl Statement {
    /// A statement without values.
    pub fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Adds the value of the next placeholder.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }
}

/// The connections that run a statement. In PostgreSQL each is a pool, so that none waits for another; in
/// SQLite there are readers and one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Reads of history and state.
    Readers,
    /// Lease and watermark. In SQLite their writes go ahead of background work.
    Control,
    /// Cursors of inboxes. In SQLite their writes go ahead of background work.
    Cursors,
    /// Background processing.
    Workers,
    /// Work queues. Their statements are never repeated: if the response was lost, the work would be done
    /// twice.
    Jobs,
    /// The sweep of work queues. As [`Self::Jobs`], but in SQLite it does not save the store's time, since it writes
    /// none.
    JobSweep,
}

/// Runs statements. A statement may run twice if a connection ended, unless it runs on [`Pool::Jobs`] or
/// [`Pool::JobSweep`].
#[async_trait]
pub trait Database: Send + Sync {
    /// The dialect of SQL that it takes.
    fn dialect(&self) -> Dialect;

    /// Runs a statement that changes nothing.
    async fn select(&self, pool: Pool, statement: Statement) -> Result<Rows, StoreError>;

    /// Runs a statement that changes rows, and returns the rows of its `RETURNING`.
    async fn change(&self, pool: Pool, statement: Statement) -> Result<Rows, StoreError>;

    /// Runs a statement that changes rows, and returns how many it changed.
    async fn execute(&self, pool: Pool, statement: Statement) -> Result<u64, StoreError>;

    /// Runs statements in one transaction, and returns the rows of each `RETURNING`.
    async fn transaction(
        &self,
        pool: Pool,
        statements: Vec<Statement>,
    ) -> Result<Vec<Rows>, StoreError>;

    /// Decodes a time by the store's clock, and converts it to the wall clock.
    fn due(&self, row: Row<'_>, column: &str) -> Result<DateTime<Utc>, Error>;
}

/// The rows of one result.
pub enum Rows {
    /// From PostgreSQL.
    Postgres(Vec<PgRow>),
    /// From SQLite.
    Sqlite(Vec<SqliteRow>),
}

impl Rows {
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Postgres(rows) => rows.is_empty(),
            Self::Sqlite(rows) => rows.is_empty(),
        }
    }

    /// Decodes each row.
    pub fn decode<T>(
        &self,
        read: impl Fn(Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, StoreError> {
        let decoded: Result<Vec<T>, Error> = match self {
            Self::Postgres(rows) => rows.iter().map(|row| read(row.into())).collect(),
            Self::Sqlite(rows) => rows.iter().map(|row| read(row.into())).collect(),
        };
        decoded.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Decodes the first row, if there is one.
    pub fn first<T>(
        &self,
        read: impl Fn(Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, StoreError> {
        let row = match self {
            Self::Postgres(rows) => rows.first().map(Row::from),
            Self::Sqlite(rows) => rows.first().map(Row::from),
        };
        let decoded = row.map(read).transpose();
        decoded.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

/// One row of either database.
#[derive(Clone, Copy)]
pub enum Row<'r> {
    /// From PostgreSQL.
    Postgres(&'r PgRow),
    /// From SQLite.
    Sqlite(&'r SqliteRow),
}

impl<'r> From<&'r PgRow> for Row<'r> {
    fn from(row: &'r PgRow) -> Self {
        Self::Postgres(row)
    }
}

impl<'r> From<&'r SqliteRow> for Row<'r> {
    fn from(row: &'r SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

/// A type that both databases decode alike.
pub trait Column<'r>:
    Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl<'r, T> Column<'r> for T where
    T: Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl<'r> Row<'r> {
    /// Decodes a column, by name or by its number from 0 on.
    pub fn get<T: Column<'r>>(
        self,
        column: impl ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    ) -> Result<T, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
    }

    /// Decodes a sequence or a count.
    pub fn seq(
        self,
        column: impl ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    ) -> Result<u64, Error> {
        self.get(column).map(from_db)
    }

    /// Decodes a number below 2^31, which PostgreSQL holds in 32 bits.
    pub fn number(self, column: &str) -> Result<u32, Error> {
        self.get::<i32>(column).map(|number| u32::try_from(number).unwrap_or_default())
    }

    /// Decodes sequences, in the form in which [`Value::Seqs`] binds them.
    pub fn seqs(self, column: &str) -> Result<Vec<u64>, Error> {
        match self {
            Self::Postgres(row) => {
                Ok(row.try_get::<Vec<i64>, _>(column)?.into_iter().map(from_db).collect())
            }
            Self::Sqlite(row) => serde_json::from_str(row.try_get(column)?).map_err(unreadable),
        }
    }

    /// Decodes a time, or null.
    pub fn time(
        self,
        column: impl ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => {
                row.try_get::<Option<i64>, _>(column)?.map(time_from_micros).transpose()
            }
        }
    }

    /// Decodes a time that is never null.
    pub fn time_set(
        self,
        column: impl ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    ) -> Result<DateTime<Utc>, Error> {
        self.time(column)?.ok_or_else(|| unreadable("a time is missing"))
    }
}

/// Converts a time from SQLite's microseconds since 1970.
pub(super) fn time_from_micros(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| unreadable("a time that no calendar has"))
}

/// The error for a row that this program cannot have written.
pub(super) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Decode(error.into())
}

/// A sequence as the databases hold it. Sequences stay below 2^53; a larger bound from a client is above them
/// all.
#[must_use]
pub fn to_db(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// A sequence as the program holds it.
#[must_use]
pub fn from_db(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or_default()
}

/// A number of rows as the databases take it.
pub(super) fn limit_to_db(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A duration in microseconds.
pub(super) fn to_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A duration of this many microseconds; zero if it is negative.
pub(super) fn from_micros(micros: i64) -> Duration {
    Duration::from_micros(from_db(micros))
}

/// A number below 2^31, which PostgreSQL stores in 32 bits.
pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Splits rows into parts of [`INSERT_SIZES`], so that few statements are prepared.
pub(super) fn insert_parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = INSERT_SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_rows_in_order_in_few_statements() {
        let rows: Vec<usize> = (0..1_000).collect();
        for length in 0..rows.len() {
            let parts: Vec<&[usize]> = insert_parts(&rows[..length]).collect();
            assert_eq!(parts.concat(), rows[..length]);
            assert!(parts.len() <= length / INSERT_SIZES[0] + 3, "{length}: {}", parts.len());
            assert!(parts.iter().all(|part| INSERT_SIZES.contains(&part.len())));
        }
    }
}
