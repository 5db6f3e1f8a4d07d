//! Copies the database to a file while a server writes to it, and makes a store of such a copy.
//!
//! `VACUUM INTO` reads the database in one transaction: the copy is consistent at one sequence, holds no deleted content,
//! and holds up no writer, since in WAL mode readers and the writer do not wait for each other. SQLite's backup API would
//! begin again with each write of another process, or keep the same read lock.
//!
//! Invariant: a restored database gets its name when it is complete, with all changes and synced to disk. A process that
//! dies before leaves a folder that no server reads, and that the next restore replaces.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::connection::{self, classify};
use super::files::{self, DATABASE_FILE};
use super::membership;
use super::wal;
use crate::store::backup::{BackupContent, Literals, Restoration};
use crate::store::error::StoreError;
use crate::store::log::read_log_state;
use crate::store::schema::{APPLIED, Step};

const LITERALS: Literals =
    Literals { now: "CAST(unixepoch() AS INTEGER) * 1000000", epoch: "0", free: "0" };
/// The folder of a database that is being restored.
const UNFINISHED: &str = ".agentbus-restore";

/// Copies the database in a directory into a new file, and returns what the copy holds.
///
/// # Errors
/// There is no database, or a disk fails.
pub async fn back_up(dir: &Path, to: &Path) -> Result<BackupContent, StoreError> {
    let options = connection::options(&dir.join(DATABASE_FILE)).create_if_missing(false);
    let mut source = connection::open(&options).await?;
    // An empty file is taken as if it were missing, and keeps its mode.
    files::create(to).map_err(|error| unavailable(to, &error))?;
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(to.to_string_lossy().into_owned())
        .execute(&mut source)
        .await;
    let _ = source.close().await;
    copied.map_err(classify)?;
    read(to).await.map_err(classify)
}

/// What a copy holds. Changes nothing of it.
async fn read(file: &Path) -> Result<BackupContent, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut copy: SqliteConnection = options.disable_statement_logging().connect().await?;
    let sql = "SELECT committed_through, bus, stream_epoch, \
               (SELECT min(seq) FROM messages) AS first_seq FROM log_state";
    let log = sqlx::query(sql).try_map(|row: SqliteRow| read_log_state((&row).into()));
    let log = log.fetch_one(&mut copy).await?;
    let schema: Vec<(i64, String)> = sqlx::query_as(APPLIED).fetch_all(&mut copy).await?;
    copy.close().await?;
    Ok(BackupContent { log, schema: schema.into_iter().map(Step::from).collect() })
}

/// A data directory without a database, which this process has locked.
pub struct SqliteTarget {
    dir: PathBuf,
    _lock: File,
}

impl SqliteTarget {
    /// Locks a directory, and creates it if it is missing.
    ///
    /// # Errors
    /// It holds a database, or another process uses it.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        files::make_dir(dir).map_err(|error| unavailable(dir, &error))?;
        refuse_database(dir)?;
        let lock = membership::lock(dir).await?.map_err(StoreError::Refused)?;
        refuse_database(dir)?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Makes the store from a copy.
    ///
    /// # Errors
    /// A disk fails, or the copy is no database.
    pub async fn fill(&self, from: &Path, changes: &Restoration) -> Result<(), StoreError> {
        let unfinished = self.dir.join(UNFINISHED);
        let failed = |error: io::Error| unavailable(&unfinished, &error);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        files::make_dir(&unfinished).map_err(failed)?;
        let file = unfinished.join(DATABASE_FILE);
        drop(files::create(&file).map_err(failed)?);
        tokio::fs::copy(from, &file).await.map_err(failed)?;
        files::restrict(&file).map_err(failed)?;
        change(&file, changes).await?;
        self.finish(&file).map_err(failed)
    }

    /// Gives the complete database its name.
    fn finish(&self, file: &Path) -> io::Result<()> {
        if wal::bytes(&wal::file_of(file)) > 0 {
            return Err(io::Error::other("SQLite left a write-ahead log"));
        }
        File::open(file)?.sync_all()?;
        fs::rename(file, self.dir.join(DATABASE_FILE))?;
        fs::remove_dir_all(self.dir.join(UNFINISHED))?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Makes the changes of a restore in a copy.
async fn change(file: &Path, changes: &Restoration) -> Result<(), StoreError> {
    let options = connection::options(file).create_if_missing(false);
    let mut copy = connection::open(&options).await?;
    let sql = format!("BEGIN; {} COMMIT; PRAGMA wal_checkpoint(TRUNCATE);", changes.sql(&LITERALS));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut copy).await.map_err(classify)?;
    copy.close().await.map_err(classify)
}

/// Refuses a directory with a database, or with what is left of one: SQLite would take an old write-ahead log for that of
/// the restored database.
fn refuse_database(dir: &Path) -> Result<(), StoreError> {
    let found = files::of_database(dir);
    if found.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
    Err(StoreError::Refused(format!(
        "the store is not empty: {} is there; move it away, or restore into another DATA_DIR",
        found.join(", ")
    )))
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
