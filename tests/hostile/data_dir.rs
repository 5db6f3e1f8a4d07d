//! No other user of the machine can read `DATA_DIR`, and a deleted secret is not in its files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::{Deployment, Mode, eventually};

const LIMIT: Duration = Duration::from_secs(20);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// The names in a folder, each with its mode.
fn modes(dir: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut modes: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), mode(&entry.path())))
        .collect();
    modes.sort();
    modes
}

fn assert_closed(dir: &Path) {
    assert_eq!(mode(dir), 0o700);
    let modes = modes(dir);
    let names: Vec<&str> = modes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["agentbus.db", "agentbus.db-shm", "agentbus.db-wal", "agentbus.lock"]);
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

/// Whether any file of a folder contains these bytes.
fn holds(dir: &Path, wanted: &str) -> bool {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let read = entries.filter_map(|entry| fs::read(entry.path()).ok());
    read.into_iter().any(|bytes| memchr(&bytes, wanted.as_bytes()))
}

fn memchr(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test]
async fn new_files_are_accessible_to_their_owner_only() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    assert_closed(&deployment.agentbus().data_dir());
}

#[tokio::test]
async fn files_of_an_older_version_get_private_permissions_at_start() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let agentbus = deployment.agentbus();
    let dir = agentbus.data_dir();
    agentbus.kill9();
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    open(&dir, 0o755).expect("opened");
    for (name, _) in modes(&dir) {
        open(&dir.join(name), 0o644).expect("opened");
    }
    agentbus.restart().await;
    assert_closed(&dir);
    let warnings = |log: &str| log.matches("could read the data").count();
    assert_eq!(warnings(&agentbus.log()), 1, "one line reports it");
    agentbus.restart().await;
    assert_eq!(warnings(&agentbus.log()), 1, "not where there is nothing to fix");
}

#[tokio::test]
async fn a_deleted_secret_is_in_no_file() {
    let deployment = Deployment::tuned(Mode::MemorySqlite, |builder| {
        builder.env("WEBHOOK_ALLOW_PRIVATE", "true")
    })
    .await;
    let (http, dir) = (deployment.http(), deployment.agentbus().data_dir());
    let hook = json!({"url": "http://127.0.0.1:9/", "filter": "agent.task.>"});
    let mut made = Vec::new();
    for _ in 0..20 {
        made.push(http.post_json("/v1/webhooks", &hook).await.expect(201).json());
    }
    let secret = |n: usize| made[n]["secret"].as_str().expect("a secret").to_owned();
    assert!(holds(&dir, &secret(3)) && holds(&dir, &secret(19)), "kept while it is needed");
    for webhook in &made[..19] {
        http.delete(&format!("/v1/webhooks/{}", webhook["id"].as_str().expect("an id")))
            .await
            .expect(204);
    }
    eventually(LIMIT, "the deleted secrets are erased while the server runs", async || {
        (0..19).all(|n| !holds(&dir, &secret(n))).then_some(())
    })
    .await;
    assert!(holds(&dir, &secret(19)), "another one is not");
    deployment.agentbus().terminate().await;
    assert!((0..19).all(|n| !holds(&dir, &secret(n))), "nor are they after a stop");
}
