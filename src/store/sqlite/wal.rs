//! Keeps SQLite's WAL (write-ahead log) small.
//!
//! SQLite restarts its WAL only when no reader uses it. Readers that follow each other closely can prevent
//! that for ever, and then the WAL grows. So a write that finds it larger than a limit first runs a
//! checkpoint that waits for the current readers. Later readers read the database itself and do not prevent
//! the restart.
//!
//! Invariant: the WAL is emptied after a few attempts as long as each reader ends, and soon after
//! [`Wal::forget`], so that deleted content does not stay in it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, Row};

use crate::backoff::Backoff;
use crate::limits::{
    SQLITE_LOG_BYTES, SQLITE_LOG_LONGEST_RETRY, SQLITE_LOG_LONGEST_WAIT, SQLITE_LOG_RETRY,
    SQLITE_LOG_WAIT, STORE_WRITE_TIMEOUT,
};

/// The WAL of one database.
pub(super) struct Wal {
    file: PathBuf,
    /// Whether to empty the WAL however small it is.
    wanted: AtomicBool,
    /// When to try again after readers prevented the last attempt, and the backoff from then on.
    next: Mutex<Option<(Instant, Backoff)>>,
}

impl Wal {
    /// The WAL of a database. The first write empties what an earlier process left in it.
    pub fn of(database: &Path) -> Self {
        Self { file: file_of(database), wanted: AtomicBool::new(true), next: Mutex::default() }
    }

    /// Requests that the WAL be emptied soon, since it holds deleted content.
    pub fn forget(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Empties the WAL if that is due. The caller has the only connection that writes.
    pub async fn keep_small(&self, connection: &mut SqliteConnection) {
        let bytes = bytes(&self.file);
        let too_large = bytes > SQLITE_LOG_BYTES;
        let last = self.next.lock().clone();
        let too_soon = last.as_ref().is_some_and(|(next, _)| Instant::now() < *next);
        if too_soon || !(too_large || self.wanted.load(Ordering::Relaxed)) {
            return;
        }
        // A small WAL is not worth a wait for readers.
        let wait = if too_large { reader_wait(bytes) } else { Duration::ZERO };
        let emptied = truncate(connection, wait).await;
        let new = || Backoff::new(SQLITE_LOG_RETRY, SQLITE_LOG_LONGEST_RETRY);
        let mut backoff = last.map_or_else(new, |(_, backoff)| backoff);
        *self.next.lock() = Some((Instant::now() + backoff.next_wait(), backoff));
        match emptied {
            Ok(true) => {
                *self.next.lock() = None;
                self.wanted.store(false, Ordering::Relaxed);
            }
            Ok(false) if too_large => {
                tracing::warn!(
                    bytes,
                    "SQLite's WAL grows: a reader keeps the database open for long; end backups or other programs that read agentbus.db"
                );
            }
            Ok(false) => {}
            // The write that follows reports the fault.
            Err(error) => tracing::debug!(%error, "SQLite's WAL was not emptied"),
        }
    }
}

/// The WAL of a database.
pub(super) fn file_of(database: &Path) -> PathBuf {
    let mut file = database.as_os_str().to_owned();
    file.push("-wal");
    file.into()
}

/// The length of a WAL; 0 if there is none.
pub(super) fn bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// How long to wait for readers: the longer, the larger the WAL.
fn reader_wait(bytes: u64) -> Duration {
    let times = u32::try_from(bytes / SQLITE_LOG_BYTES).unwrap_or(u32::MAX);
    SQLITE_LOG_WAIT.saturating_mul(times.max(1)).min(SQLITE_LOG_LONGEST_WAIT)
}

/// Moves the whole WAL into the database and truncates it. Returns `false` if readers prevented that.
async fn truncate(connection: &mut SqliteConnection, wait: Duration) -> Result<bool, Error> {
    set_busy_timeout(connection, wait).await?;
    let done = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
    set_busy_timeout(connection, STORE_WRITE_TIMEOUT).await?;
    Ok(done?.try_get::<i64, _>(0)? == 0)
}

async fn set_busy_timeout(connection: &mut SqliteConnection, wait: Duration) -> Result<(), Error> {
    let sql = format!("PRAGMA busy_timeout = {}", wait.as_millis());
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_wal_is_worth_a_longer_wait() {
        assert_eq!(reader_wait(0), SQLITE_LOG_WAIT);
        assert_eq!(reader_wait(2 * SQLITE_LOG_BYTES), 2 * SQLITE_LOG_WAIT);
        assert_eq!(reader_wait(u64::MAX), SQLITE_LOG_LONGEST_WAIT);
    }
}
