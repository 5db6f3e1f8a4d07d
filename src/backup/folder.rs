//! The folder of a backup.
//!
//! Invariant: each file is synced to disk before the manifest gets its name, which it does last. Only the owner may read
//! them: they hold all messages, and secrets of webhooks.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::manifest::{BackupFile, MANIFEST, Manifest};
use crate::limits::BACKUP_CHUNK;

/// What names of unfinished files end with.
const PART: &str = ".part";

/// The folder of a backup that is being made. Dropped before it is finished, it removes what it has made.
#[derive(Debug)]
pub struct Unfinished {
    folder: PathBuf,
    name: &'static str,
    made_folder: bool,
    finished: bool,
}

impl Unfinished {
    /// Makes the folder for a backup with a file of this name. The folder must not exist, or be empty.
    ///
    /// # Errors
    /// It holds something, or cannot be made.
    pub fn begin(folder: &Path, name: &'static str) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        let made_folder = match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        if fs::read_dir(folder).map_err(failed)?.next().is_some() {
            return Err(format!(
                "{} is not empty: name a folder that does not exist",
                folder.display()
            ));
        }
        Ok(Self { folder: folder.to_owned(), name, made_folder, finished: false })
    }

    /// The file to write the store to.
    #[must_use]
    pub fn part(&self) -> PathBuf {
        self.folder.join(format!("{}{PART}", self.name))
    }

    /// The file in the manifest, as it was written. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn describe(&self) -> Result<BackupFile, String> {
        let path = self.part();
        let described = hash(&path, &|_| {});
        let (bytes, sha256) = described.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(BackupFile { name: self.name.to_owned(), bytes, sha256 })
    }

    /// Gives the files their names, the manifest last. Blocks.
    ///
    /// # Errors
    /// The disk fails.
    pub fn finish(mut self, manifest: &Manifest) -> Result<(), String> {
        self.write(manifest).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        self.finished = true;
        Ok(())
    }

    fn write(&self, manifest: &Manifest) -> io::Result<()> {
        File::open(self.part())?.sync_all()?;
        fs::rename(self.part(), self.folder.join(self.name))?;
        let part = self.folder.join(format!("{MANIFEST}{PART}"));
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&part)?;
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        // The name of the store's file first, so that a manifest is never without it.
        File::open(&self.folder)?.sync_all()?;
        fs::rename(&part, self.folder.join(MANIFEST))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What cannot be removed stays, and is no backup without the manifest.
        let manifest = format!("{MANIFEST}{PART}");
        for path in [self.part(), self.folder.join(self.name), self.folder.join(manifest)] {
            let _ = fs::remove_file(path);
        }
        if self.made_folder {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Compares the file in a folder with the manifest. Calls `progress` with the bytes read. Blocks.
///
/// # Errors
/// The file is missing, cannot be read, or is another one.
pub fn verify(folder: &Path, manifest: &Manifest, progress: &dyn Fn(u64)) -> Result<(), String> {
    let (path, expected) = (manifest.path_in(folder), manifest.file());
    let found = hash(&path, progress).map_err(|error| format!("{}: {error}", path.display()))?;
    if found != (expected.bytes, expected.sha256.clone()) {
        return Err(format!(
            "{} is damaged: its size or SHA-256 is not that of {MANIFEST}; take another copy of the backup",
            path.display()
        ));
    }
    Ok(())
}

/// The size and the SHA-256 of a file.
fn hash(path: &Path, progress: &dyn Fn(u64)) -> io::Result<(u64, String)> {
    use std::fmt::Write as _;
    let mut file = File::open(path)?;
    let (mut context, mut bytes) = (Context::new(&SHA256), 0);
    let mut chunk = vec![0; BACKUP_CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        context.update(&chunk[..read]);
        bytes += read as u64;
        progress(bytes);
    }
    let digest = context.finish();
    let text = digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok((bytes, text))
}
