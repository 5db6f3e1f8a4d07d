//! The disk under JetStream is full (a small tmpfs): nothing is acknowledged that is not stored, reads go on, and with room
//! again everything acknowledged is there.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::folder::Folder;
use crate::common::{Agentbus, Nats, Postgres, eventually};
use crate::load::{Load, PATIENCE};
use crate::{times, verdict};

const SMALL_MIB: u32 = 6;
const LARGE_MIB: u32 = 512;
/// More than there is, so that it is the disk that ends and not JetStream's own account of it.
const PROMISED: u64 = 1 << 30;

/// A file system of its own. Dropped, it is unmounted.
struct Disk {
    folder: Folder,
}

impl Disk {
    /// `None`, with a note, where we have no right to mount one.
    fn mount(mib: u32) -> Option<Self> {
        let folder = Folder::new("disk");
        if run(Command::new("mount").args(["-t", "tmpfs", "-o", &size(mib), "tmpfs"]), &folder) {
            return Some(Self { folder });
        }
        eprintln!("not run: no right to mount a small file system here");
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn resize(&self, mib: u32) {
        let options = format!("remount,{}", size(mib));
        assert!(run(Command::new("mount").args(["-o", &options]), &self.folder), "resized");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a killed server's files may be open for a moment yet.
        run(Command::new("umount").arg("--lazy"), &self.folder);
    }
}

fn size(mib: u32) -> String {
    format!("size={mib}m")
}

fn run(command: &mut Command, folder: &Folder) -> bool {
    command.arg(folder.path()).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn full_under_jetstream() {
    for _ in 0..times(1, 5) {
        let Some(disk) = Disk::mount(SMALL_MIB) else { return };
        let nats = Nats::builder().store_dir(disk.path()).max_file_store(PROMISED).start().await;
        let pg_url = Postgres::shared().await.database().await;
        let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
        let http = agentbus.http();
        let load = Load::start(&[agentbus.url()], 6, 2);
        eventually(PATIENCE, "the disk is full", async || {
            let message = json!({"kind": "message", "type": "x", "sender_id": "probe",
                "content": "x".repeat(20_000)});
            (http.post_json("/v1/messages", &message).await.status == 503).then_some(())
        })
        .await;
        http.get("/v1/messages?limit=1").await.expect(200);
        disk.resize(LARGE_MIB);
        nats.restart().await;
        let took = load.acknowledged(100).await;
        eprintln!("full disk: {took:.1?} from the restart with room to 100 acknowledgements");
        verdict::hold("full disk", load, &[agentbus.url()], Some(&nats)).await;
        drop(nats);
    }
}
