//! SQLite's log beside the database.
//!
//! SQLite begins its log anew only when no reader is in it. Readers that follow each other closely
//! keep it from that for ever, and the log grows. So where it has grown beyond a limit a write is
//! preceded by a checkpoint that waits for the readers of that moment; those that come meanwhile
//! read the database itself and are not in its way.
//! Invariant: the log is emptied within some tries as long as each reader ends; and soon after
//! [`Wal::forget`], so that what was deleted does not stand in it.

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

/// What is known of the log.
pub(super) struct Wal {
    file: PathBuf,
    /// Whether it is to be emptied, however small it is.
    wanted: AtomicBool,
    /// When to try again after readers were in the way, and the pauses from then on.
    next: Mutex<Option<(Instant, Backoff)>>,
}

impl Wal {
    /// The log of a database. What an earlier process left in it is to go.
    pub fn of(database: &Path) -> Self {
        let mut file = database.as_os_str().to_owned();
        file.push("-wal");
        Self { file: file.into(), wanted: AtomicBool::new(true), next: Mutex::default() }
    }

    /// What was deleted must not stand in the log any longer.
    pub fn forget(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Empties the log, if it is time. Nobody else writes meanwhile.
    pub async fn keep_small(&self, connection: &mut SqliteConnection) {
        let bytes = std::fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
        let too_large = bytes > SQLITE_LOG_BYTES;
        let last = self.next().clone();
        let too_soon = last.as_ref().is_some_and(|(next, _)| Instant::now() < *next);
        if too_soon || !(too_large || self.wanted.load(Ordering::Relaxed)) {
            return;
        }
        // A small log is worth no wait.
        let patience = if too_large { wait(bytes) } else { Duration::ZERO };
        let emptied = truncate(connection, patience).await;
        let new = || Backoff::new(SQLITE_LOG_RETRY, SQLITE_LOG_LONGEST_RETRY);
        let mut pauses = last.map_or_else(new, |(_, pauses)| pauses);
        *self.next() = Some((Instant::now() + pauses.next_wait(), pauses));
        match emptied {
            Ok(true) => {
                *self.next() = None;
                self.wanted.store(false, Ordering::Relaxed);
            }
            Ok(false) if too_large => {
                tracing::warn!(bytes, "SQLite's log grows: somebody reads the database for long");
            }
            Ok(false) => {}
            // The write that follows will tell.
            Err(error) => tracing::debug!(%error, "SQLite's log was not emptied"),
        }
    }

    fn next(&self) -> parking_lot::MutexGuard<'_, Option<(Instant, Backoff)>> {
        self.next.lock()
    }
}

/// How long to wait for readers: longer, the larger the log has grown.
fn wait(bytes: u64) -> Duration {
    let times = u32::try_from(bytes / SQLITE_LOG_BYTES).unwrap_or(u32::MAX);
    SQLITE_LOG_WAIT.saturating_mul(times.max(1)).min(SQLITE_LOG_LONGEST_WAIT)
}

/// Moves all of the log into the database, and cuts it off; `false` where readers were in the way.
async fn truncate(connection: &mut SqliteConnection, wait: Duration) -> Result<bool, Error> {
    patience(connection, wait).await?;
    let done = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
    patience(connection, STORE_WRITE_TIMEOUT).await?;
    Ok(done?.try_get::<i64, _>(0)? == 0)
}

async fn patience(connection: &mut SqliteConnection, wait: Duration) -> Result<(), Error> {
    let sql = format!("PRAGMA busy_timeout = {}", wait.as_millis());
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_log_is_worth_a_longer_wait() {
        assert_eq!(wait(0), SQLITE_LOG_WAIT);
        assert_eq!(wait(2 * SQLITE_LOG_BYTES), 2 * SQLITE_LOG_WAIT);
        assert_eq!(wait(u64::MAX), SQLITE_LOG_LONGEST_WAIT);
    }
}
