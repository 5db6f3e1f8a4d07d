//! A temporary folder that is removed when its value is dropped, and a log file that is shown when the test
//! fails.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A new folder below the system's temporary folder. Removed when dropped, unless `AGENTBUS_TEST_KEEP` is
/// set.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a folder whose name starts with `agentbus-` and `what`.
    pub fn new(what: &str) -> Self {
        let random = fastrand::u64(..);
        let path = std::env::temp_dir().join(format!("agentbus-{what}-{random:016x}"));
        fs::create_dir_all(&path).expect("create a temporary folder");
        // PostgreSQL may run as another user, who needs access whatever the umask of this process is.
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .expect("open the temporary folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether folders are kept after their test (`AGENTBUS_TEST_KEEP`).
    pub fn kept() -> bool {
        std::env::var_os("AGENTBUS_TEST_KEEP").is_some_and(|value| !value.is_empty())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if Self::kept() {
            eprintln!("kept: {}", self.0.display());
        } else {
            // This can fail while children of a killed server still write. Such an error must not
            // hide why a test failed.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// How many lines of each log of a failed test are shown.
const TAIL_LINES: usize = 40;

/// A file to which a server's output is appended. Dropped while the test panics, it prints its last lines.
/// Declare it before its [`Folder`], so that it is dropped while the file still exists.
pub struct Log {
    name: String,
    path: PathBuf,
}

impl Log {
    /// The log at `path` of the server called `name`.
    pub fn new(name: &str, path: PathBuf) -> Self {
        Self { name: name.to_owned(), path }
    }

    /// Opens the file for a process to write to.
    pub fn append(&self) -> File {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(&self.path).expect("open a log file")
    }

    /// The whole text of the file.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// The last lines of the file.
    pub fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the log of {}:\n{}\n---", self.name, self.tail());
        }
    }
}
