//! A clock for one program that a test can set, by libfaketime.

use std::fs::{Permissions, write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::agentbus::Builder;
use super::folder::Folder;
use super::programs;

/// A clock for one program that a test can set.
pub struct Clock {
    folder: Folder,
}

impl Clock {
    /// A clock that shows the true time.
    pub fn new() -> Self {
        let clock = Self { folder: Folder::new("clock") };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.join("offset")
    }

    /// Sets the clock to an offset from the true time.
    pub fn set(&self, offset: &str) {
        // Replaces the whole file by a rename: the program may read it at any moment.
        let new = self.folder.join("new");
        write(&new, format!("{offset}\n")).expect("written");
        std::fs::set_permissions(&new, Permissions::from_mode(0o644)).expect("readable by all");
        std::fs::rename(&new, self.file()).expect("renamed");
    }

    /// The environment variables that make a program use this clock. Its monotonic clock is not affected.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", programs::faketime().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// Makes a server use this clock.
    pub fn seen_by(&self, builder: Builder) -> Builder {
        self.env().iter().fold(builder, |builder, (name, value)| builder.env(name, value))
    }
}
