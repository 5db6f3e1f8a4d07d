//! Who may run on this directory: one process, by a lock on a file.
//!
//! Invariant: the operating system gives the lock back when the process ends,
//! however it ends. Not for directories on network file systems, whose locks
//! promise less, nor does SQLite's WAL work there.

use std::fs::{File, TryLockError};
use std::path::Path;

use tokio::time::Instant;

use crate::limits::{JOIN_PATIENCE, JOIN_RETRY};
use crate::store::{BusKind, Membership, StoreError};

/// Name of the file that is locked.
const LOCK_FILE: &str = "agentbus.lock";

/// The locked file.
pub(super) struct SqliteMembership(#[expect(dead_code, reason = "held for its lock")] File);

impl Membership for SqliteMembership {
    fn held(&self) -> bool {
        true
    }
}

/// Joins, or says for a person who is in the way.
pub(super) async fn join(
    dir: &Path,
    bus: BusKind,
) -> Result<Result<SqliteMembership, String>, StoreError> {
    if bus == BusKind::Nats {
        return Ok(Err("MESSAGE_BUS=nats needs PostgreSQL: set DATABASE_URL".to_owned()));
    }
    let path = dir.join(LOCK_FILE);
    let unavailable =
        |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(unavailable)?;
    let deadline = Instant::now() + JOIN_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Ok(SqliteMembership(file))),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(JOIN_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Ok(Err(format!(
                    "another agentbus process uses DATA_DIR {}; stop it first",
                    dir.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(error)),
        }
    }
}
