//! Small file systems that a test fills.

use std::path::Path;
use std::process::Command;

use crate::support::folder::Folder;

/// A small file system. Dropped, it is unmounted.
pub struct Disk {
    folder: Folder,
}

impl Disk {
    /// Mounts a file system of this many MiB. `None`, with a note, without the permission to mount.
    pub fn mount(mib: u32) -> Option<Self> {
        let folder = Folder::new("disk");
        if run(Command::new("mount").args(["-t", "tmpfs", "-o", &size(mib), "tmpfs"]), &folder) {
            return Some(Self { folder });
        }
        eprintln!("not run: no right to mount a small file system here");
        None
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the size to this many MiB.
    pub fn resize(&self, mib: u32) {
        let options = format!("remount,{}", size(mib));
        assert!(run(Command::new("mount").args(["-o", &options]), &self.folder), "resized");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The unmount is lazy, since files of a killed server may still be open for a moment.
        run(Command::new("umount").arg("--lazy"), &self.folder);
    }
}

fn size(mib: u32) -> String {
    format!("size={mib}m")
}

fn run(command: &mut Command, folder: &Folder) -> bool {
    command.arg(folder.path()).output().is_ok_and(|output| output.status.success())
}
