//! SQLite without agentbus: rows of `messages` with its indices, one transaction for a given number of them.
//!
//! No counters, no folds, no lease.

use std::path::Path;
use std::time::{Duration, Instant};

use agentbus::store::Store as _;
use agentbus::store::sqlite::{DATABASE_FILE, SqliteStore};
use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use uuid::Uuid;

use crate::error::SuiteError;

/// Rows of one statement: 5 bound values each stay below SQLite's 32,766.
const ROWS_AT_ONCE: usize = 64;
const INSERT: &str = "INSERT INTO messages \
    (seq, id, kind, type, subject, sender_id, sender_role, created_at, logged_at, body) VALUES ";
const VALUES: &str =
    "(?, ?, 'message', 'bench', 'agent.message.agent.bench', 'bench', 'agent', ?, ?, ?)";

/// A database in a folder of its own.
pub struct BareFile {
    connection: SqliteConnection,
}

impl BareFile {
    /// Makes it in a folder, with the schema of agentbus, and opens it with agentbus's settings for durability.
    ///
    /// # Errors
    /// The disk's.
    pub async fn make(folder: &Path) -> Result<Self, SuiteError> {
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
    /// The disk's.
    pub async fn fill(
        &mut self,
        body: &Bytes,
        rows: usize,
        lasts: Duration,
    ) -> Result<f64, SuiteError> {
        let (begun, mut next) = (Instant::now(), 1_i64);
        while begun.elapsed() < lasts {
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
        Ok((next - 1) as f64 / begun.elapsed().as_secs_f64())
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
