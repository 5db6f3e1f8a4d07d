//! Inserts into SQLite: a given number of rows of `messages`, with its indices, in each transaction.
//!
//! Without counters, folds and lease.

use std::path::Path;
use std::time::{Duration, Instant};

use agentbus::store::Store as _;
use agentbus::store::sqlite::{DATABASE_FILE, SqliteStore};
use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use uuid::Uuid;

use crate::error::SuiteError;

/// Rows of one statement: with 5 bound values each, below SQLite's limit of 32,766.
const ROWS_AT_ONCE: usize = 64;
const INSERT: &str = "INSERT INTO messages \
    (seq, id, kind, type, subject, sender_id, sender_role, created_at, logged_at, body) VALUES ";
const VALUES: &str =
    "(?, ?, 'message', 'bench', 'agent.message.agent.bench', 'bench', 'agent', ?, ?, ?)";

/// A database in a folder.
pub struct BareFile {
    connection: SqliteConnection,
}

impl BareFile {
    /// Creates the database in a folder, with the schema and the durability settings of agentbus.
    ///
    /// # Errors
    /// The database fails.
    pub async fn create(folder: &Path) -> Result<Self, SuiteError> {
        SqliteStore::open(folder).await?.close().await;
        let options = SqliteConnectOptions::new()
            .filename(folder.join(DATABASE_FILE))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        Ok(Self { connection: options.connect().await? })
    }

    /// Inserts for a time, `rows` in each transaction; returns rows per second.
    ///
    /// # Errors
    /// The database fails.
    pub async fn fill(
        &mut self,
        body: &Bytes,
        rows: usize,
        duration: Duration,
    ) -> Result<f64, SuiteError> {
        let (started, mut next) = (Instant::now(), 1_i64);
        while started.elapsed() < duration {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut left = rows;
            while left > 0 {
                let count = left.min(ROWS_AT_ONCE);
                insert(&mut transaction, next, count, body).await?;
                next += i64::try_from(count).unwrap_or_default();
                left -= count;
            }
            transaction.commit().await?;
        }
        Ok((next - 1) as f64 / started.elapsed().as_secs_f64())
    }
}

#[expect(clippy::disallowed_methods, reason = "a bare part, measured without the server")]
async fn insert(
    connection: &mut SqliteConnection,
    first: i64,
    count: usize,
    body: &Bytes,
) -> Result<(), sqlx::Error> {
    let now = chrono::Utc::now().timestamp_micros();
    let sql = format!("{INSERT}{}", vec![VALUES; count].join(", "));
    let mut statement = sqlx::query(AssertSqlSafe(sql));
    for seq in (first..).take(count) {
        statement = statement.bind(seq).bind(Uuid::now_v7()).bind(now).bind(now).bind(&body[..]);
    }
    statement.execute(connection).await.map(|_| ())
}
