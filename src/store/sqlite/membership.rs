//! Ensures, by a lock on a file, that only one process uses a directory.
//!
//! Invariant: the operating system releases the lock when the process ends, however it ends. The lock belongs
//! to the file, not to its name: a process that finds another file under the name of the database has lost
//! the membership, whatever it still has locked. Network file systems are not supported: their locks promise
//! less, and SQLite's WAL does not work there.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::files::{self, DATABASE_FILE, Identity, LOCK_FILE};
use crate::limits::{JOIN_RETRY, JOIN_TIMEOUT};
use crate::store::{BusKind, Membership, MembershipState, StoreError};

/// The locked file, and the database that it protects.
pub(super) struct SqliteMembership {
    dir: PathBuf,
    lock: Mutex<File>,
    database: Identity,
}

impl Membership for SqliteMembership {
    fn state(&self) -> MembershipState {
        match Identity::at(&self.dir.join(DATABASE_FILE)) {
            Ok(now) if now == self.database => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return MembershipState::InDoubt(format!("{}: {error}", self.dir.display()));
            }
            Ok(_) | Err(_) => {
                return MembershipState::Lost(
                    "the database file was moved or removed while the server ran".to_owned(),
                );
            }
        }
        let mut lock = self.lock.lock();
        let path = self.dir.join(LOCK_FILE);
        if Identity::at(&path).ok().is_some_and(|now| Identity::of(&lock).is_ok_and(|it| it == now))
        {
            return MembershipState::Good;
        }
        match files::open(&path).map_err(TryLockError::Error).and_then(|file| {
            file.try_lock()?;
            Ok(file)
        }) {
            Ok(file) => {
                tracing::warn!(path = %path.display(), "the lock file was removed: locked a new one; leave the files of DATA_DIR alone while a server runs");
                *lock = file;
                MembershipState::Good
            }
            Err(TryLockError::WouldBlock) => {
                MembershipState::Lost("another server has locked DATA_DIR".to_owned())
            }
            Err(TryLockError::Error(error)) => {
                MembershipState::InDoubt(format!("{}: {error}", path.display()))
            }
        }
    }
}

/// Joins, or returns a message for an operator about what prevents it.
pub(super) async fn join(
    dir: &Path,
    bus: BusKind,
) -> Result<Result<SqliteMembership, String>, StoreError> {
    if bus == BusKind::Nats {
        return Ok(Err("MESSAGE_BUS=nats needs PostgreSQL: set DATABASE_URL".to_owned()));
    }
    let lock = match lock(dir).await? {
        Ok(lock) => Mutex::new(lock),
        Err(reason) => return Ok(Err(reason)),
    };
    let database = Identity::at(&dir.join(DATABASE_FILE));
    let database = database.map_err(|error| unavailable(dir, &error))?;
    Ok(Ok(SqliteMembership { dir: dir.to_owned(), lock, database }))
}

/// Locks the directory as long as the returned file is open, or returns a message that another process has
/// locked it.
pub(super) async fn lock(dir: &Path) -> Result<Result<File, String>, StoreError> {
    let path = dir.join(LOCK_FILE);
    let file = files::open(&path).map_err(|error| unavailable(&path, &error))?;
    let deadline = Instant::now() + JOIN_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Ok(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(JOIN_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Ok(Err(format!(
                    "another agentbus process uses DATA_DIR {}; stop it first",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(&path, &error)),
        }
    }
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
