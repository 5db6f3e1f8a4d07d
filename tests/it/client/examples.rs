//! The examples of the crate, run as they stand.

use std::path::Path;
use std::process::Output;

use tokio::process::Command;

use super::LIMIT;
use crate::support::keys::{ROOT, Secured};
use crate::support::program::rust_examples;
use crate::support::{Agentbus, Mode, within};

async fn start(folder: &Path, name: &str, args: &[&str], url: &str, key: &str) -> Output {
    let mut command = Command::new(folder.join(name));
    command.args(args).env_clear().env("AGENTBUS_URL", url).env("AGENTBUS_KEY", key);
    let ended = command.kill_on_drop(true).output();
    within(LIMIT, "the example ends", ended).await.expect("it runs")
}

async fn run(folder: &Path, name: &str, args: &[&str], url: &str) -> String {
    let Output { status, stdout, stderr } = start(folder, name, args, url, "").await;
    assert!(status.success(), "{name}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

#[tokio::test]
async fn each_example_runs_as_it_stands() {
    let folder = rust_examples();
    let server = Agentbus::builder().memory_sqlite().start().await;
    let sent = run(folder, "send", &["ann", "bob", "Good day"], server.url()).await;
    assert_eq!(sent, "1\n");
    let followed = run(folder, "follow", &["--once"], server.url()).await;
    assert_eq!(followed, "1 ann: Good day\nlive\n");
    let worked = run(folder, "worker", &[], server.url()).await;
    assert!(worked.ends_with("10 done, 1 tried again, 1 failed\n"), "{worked}");
    assert_eq!(run(folder, "ask", &[], server.url()).await, "bob says 8080\n");
    let typed = run(folder, "typed", &[], server.url()).await;
    assert_eq!(typed, "please review parser, 120 lines\n");
}

#[tokio::test]
async fn the_key_comes_from_the_environment() {
    let folder = rust_examples();
    let secured = Secured::start(Mode::MemorySqlite).await;
    let url = secured.deployment.bus();
    let args = ["ann", "bob", "Good day"];
    let sent = start(folder, "send", &args, url, &format!(" {ROOT}\n")).await;
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    for (key, code) in
        [("", "unauthenticated"), ("ab_nobody_1", "unauthenticated"), ("a b", "one word")]
    {
        let refused = start(folder, "send", &args, url, key).await;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{key:?}");
        assert!(error.contains(code) || error.contains("Key"), "{key:?}: {error}");
    }
}
