//! Small file systems, to be filled.

use std::path::Path;
use std::process::Command;

use crate::support::folder::Folder;

/// A file system of its own. Dropped, it is unmounted.
pub struct Disk {
    folder: Folder,
}

impl Disk {
    /// One of this many MiB. `None`, with a note, without the permission to mount one.
    pub fn mount(mib: u32) -> Option<Self> {
        let folder = Folder::new("disk");
        if run(Command::new("mount").args(["-t", "tmpfs", "-o", &size(mib), "tmpfs"]), &folder) {
            return Some(Self { folder });
        }
        eprintln!("not run: no right to mount a small file system here");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Resizes it to this many MiB.
    pub fn resize(&self, mib: u32) {
        let options = format!("remount,{}", size(mib));
        assert!(run(Command::new("mount").args(["-o", &options]), &self.folder), "resized");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a killed server's files may still be open for a moment.
        run(Command::new("umount").arg("--lazy"), &self.folder);
    }
}

fn size(mib: u32) -> String {
    format!("size={mib}m")
}

fn run(command: &mut Command, folder: &Folder) -> bool {
    command.arg(folder.path()).output().is_ok_and(|output| output.status.success())
}
