//! The files of a data directory, which only their owner may read.
//!
//! Invariant: SQLite creates its WAL and the WAL's index with the mode of the database, so the database is
//! created here, before SQLite opens it. Files that an older version left readable are restricted at start.
//! If that is impossible (a mount with fixed modes), the server logs it and starts.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Name of the database in the data directory.
pub const DATABASE_FILE: &str = "agentbus.db";
/// Name of the file that a running process locks.
pub(super) const LOCK_FILE: &str = "agentbus.lock";
/// Mode of the directory.
const DIR_MODE: u32 = 0o700;
/// Mode of each file in it.
const FILE_MODE: u32 = 0o600;
/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Creates the directory and the database if they are missing, and restricts them to their owner.
pub(super) fn prepare(dir: &Path) -> Result<(), StoreError> {
    let unavailable =
        |error: io::Error| StoreError::Unavailable(format!("{}: {error}", dir.display()));
    make_dir(dir).map_err(unavailable)?;
    match create(&dir.join(DATABASE_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unavailable(error)),
        Ok(_) | Err(_) => {
            restrict_all(dir);
            Ok(())
        }
    }
}

/// Opens a file for writing. If it does not exist, it is created readable by its owner alone.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(path)
}

/// Creates a file, readable by its owner alone. Never opens an existing one: closing it would release SQLite's locks on it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options().create_new(true).write(true).mode(FILE_MODE).open(path)
}

/// Creates a directory that only its owner may read, if it is missing.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Restricts files that others may read to their owner, and logs this.
fn restrict_all(dir: &Path) {
    let mut paths = ours(dir);
    // A directory that holds other files too keeps its mode.
    if only_ours(dir) {
        paths.push(dir.to_owned());
    }
    let (mut restricted, mut open) = (Vec::new(), Vec::new());
    for path in paths {
        match restrict(&path) {
            Ok(true) => restricted.push(path),
            Ok(false) => {}
            Err(error) => open.push(format!("{}: {error}", path.display())),
        }
    }
    if !restricted.is_empty() {
        tracing::warn!(
            ?restricted,
            "other users of this machine could read the data; they no longer can"
        );
    }
    if !open.is_empty() {
        tracing::warn!(
            ?open,
            "other users of this machine can read the data, and the mode of these files cannot be changed: move DATA_DIR or change its mount"
        );
    }
}

/// The names of the files that agentbus and SQLite create.
fn names() -> [String; 5] {
    let beside = |suffix: &str| format!("{DATABASE_FILE}{suffix}");
    [beside(""), beside("-wal"), beside("-shm"), beside("-journal"), LOCK_FILE.to_owned()]
}

/// The files of a database that are in a directory.
pub(super) fn of_database(dir: &Path) -> Vec<PathBuf> {
    ours(dir).into_iter().filter(|path| !path.ends_with(LOCK_FILE)).collect()
}

fn ours(dir: &Path) -> Vec<PathBuf> {
    names().into_iter().map(|name| dir.join(name)).filter(|path| path.exists()).collect()
}

fn only_ours(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let names = names();
    entries.flatten().all(|entry| names.iter().any(|name| entry.file_name() == name.as_str()))
}

/// Removes the permissions of group and others. Returns whether there were any.
pub(super) fn restrict(path: &Path) -> io::Result<bool> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS & 0o7777))?;
    // Some file systems accept a new mode but do not apply it.
    if fs::metadata(path)?.permissions().mode() & OTHERS == 0 {
        return Ok(true);
    }
    Err(io::Error::other("the file system does not change its mode"))
}

/// The identity of a file: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    /// The identity of the file that is at a path now.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self(metadata.dev(), metadata.ino()))
    }

    /// The identity of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self(metadata.dev(), metadata.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_closed_is_an_error_and_no_panic() {
        // Nobody may change modes in `/proc`, not even root.
        assert!(restrict(Path::new("/proc/self/status")).is_err());
    }

    #[test]
    fn a_directory_with_other_things_keeps_its_mode() {
        let dir = std::env::temp_dir().join(format!("agentbus-files-{}", uuid::Uuid::new_v4()));
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        let open = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("opened");
        };
        prepare(&dir.join("deep")).expect("made");
        assert_eq!(mode(&dir.join("deep")), DIR_MODE);
        fs::write(dir.join("deep").join("other"), "").expect("written");
        open(&dir.join("deep"), 0o755);
        open(&dir.join("deep").join(DATABASE_FILE), 0o644);
        prepare(&dir.join("deep")).expect("fixed");
        assert_eq!(mode(&dir.join("deep")), 0o755);
        assert_eq!(mode(&dir.join("deep").join(DATABASE_FILE)), FILE_MODE);
        fs::remove_file(dir.join("deep").join("other")).expect("removed");
        prepare(&dir.join("deep")).expect("fixed");
        assert_eq!(mode(&dir.join("deep")), DIR_MODE);
        fs::remove_dir_all(dir).expect("the directory goes");
    }
}
