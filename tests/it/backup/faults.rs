//! What is no backup, or no empty store, is refused with its reason; a process that is killed leaves a clear state.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Drill, Env, LIMIT, command, done, refused};
use crate::support::streams::{self, publish};
use crate::support::{
    Agentbus, Deployment, Mode, eventually, for_each_mode, programs, records, wire,
};

/// A backup of ten messages, and where it came from.
async fn backed_up(mode: Mode) -> (Deployment, Drill) {
    let deployment = Deployment::start(mode).await;
    let drill = Drill::of(&deployment).await;
    publish(deployment.http(), &streams::messages(10)).await;
    wire::committed(deployment.http(), 10).await;
    assert_eq!(drill.back_up("b").await, 10);
    (deployment, drill)
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

/// Rewrites the manifest of a backup.
fn edit(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("backup.json");
    let text = std::fs::read(&path).expect("a manifest");
    let mut manifest = serde_json::from_slice(&text).expect("JSON");
    change(&mut manifest);
    std::fs::write(&path, manifest.to_string()).expect("written");
}

for_each_mode! {
    async fn what_is_not_intact_or_not_empty_is_refused(deployment: &Deployment) {
        let (drill, http) = (Drill::of(deployment).await, deployment.http());
        publish(http, &streams::messages(10)).await;
        wire::committed(http, 10).await;
        assert_eq!(drill.back_up("b").await, 10);
        let (folder, path) = (drill.folder.join("b"), drill.at("b"));
        assert_eq!(mode_of(&folder), 0o700);
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            assert_eq!(mode_of(&entry.expect("an entry").path()), 0o600);
        }
        let error = refused(&["backup", &path], &drill.env).await;
        assert!(error.contains("is not empty"), "{error}");
        // A server runs on its own store, and the store is not empty.
        let error = refused(&["restore", &path], &drill.env).await;
        assert!(error.contains("is not empty") || error.contains("is running"), "{error}");
        deployment.agentbus().kill9();
        let error = refused(&["restore", &path], &drill.env).await;
        assert!(error.contains("the store is not empty"), "{error}");

        let env = drill.empty("restored").await;
        let error = refused(&["restore", &drill.at("none")], &env).await;
        assert!(error.contains("none/backup.json"), "{error}");
        let manifest = std::fs::read(folder.join("backup.json")).expect("a manifest");
        std::fs::remove_file(folder.join("backup.json")).expect("removed");
        let error = refused(&["restore", &path], &env).await;
        assert!(error.contains("is not a complete backup"), "{error}");
        let again = || std::fs::write(folder.join("backup.json"), &manifest).expect("written");
        again();
        edit(&folder, |manifest| manifest["format"] = json!(2));
        let error = refused(&["restore", &path], &env).await;
        assert!(error.contains("in format 2"), "{error}");
        again();
        edit(&folder, |manifest| {
            let steps = manifest["schema"].as_array_mut().expect("steps");
            steps.push(json!({"version": 999, "name": "breaking_more"}));
        });
        let error = refused(&["restore", &path], &env).await;
        assert!(error.contains("0999_breaking_more"), "{error}");
        again();

        let name = serde_json::from_slice::<Value>(&manifest).expect("JSON")["file"]["name"].clone();
        let file = folder.join(name.as_str().expect("a name"));
        let mut bytes = std::fs::read(&file).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, &bytes).expect("written");
        let error = refused(&["restore", &path], &env).await;
        assert!(error.contains("is damaged"), "{error}");
        bytes[middle] ^= 1;
        std::fs::write(&file, &bytes).expect("written");

        // Nothing was written meanwhile.
        done(&["restore", &path], &env).await;
        let server = drill.serve(&env).await;
        assert_eq!(records::history(&server.http(), "").await.len(), 10);
        server.terminate().await;
    }
}

#[tokio::test]
async fn a_backup_goes_to_a_store_of_its_kind_alone() {
    let (_sqlite, from_sqlite) = backed_up(Mode::MemorySqlite).await;
    let (_postgres, from_postgres) = backed_up(Mode::MemoryPostgres).await;
    let env = from_postgres.empty("restored").await;
    let error = refused(&["restore", &from_sqlite.at("b")], &env).await;
    assert!(error.contains("a backup of SQLite") && error.contains("agentbus export"), "{error}");
    let env = from_sqlite.empty("restored").await;
    let error = refused(&["restore", &from_postgres.at("b")], &env).await;
    assert!(error.contains("a backup of PostgreSQL"), "{error}");
    let error = refused(&["backup", &from_sqlite.at("c")], &env).await;
    assert!(error.contains("does not exist"), "{error}");
    assert!(!from_sqlite.folder.join("c").exists());
}

#[tokio::test]
async fn missing_programs_of_postgres_are_named() {
    let (_server, drill) = backed_up(Mode::MemoryPostgres).await;
    let mut env = drill.env.clone();
    env.insert("PATH".to_owned(), drill.at("nothing"));
    let error = refused(&["backup", &drill.at("c")], &env).await;
    assert!(error.contains("pg_dump is not found in PATH"), "{error}");
    assert!(!drill.folder.join("c").exists());
    let mut env = drill.empty("restored").await;
    env.insert("PATH".to_owned(), drill.at("nothing"));
    let error = refused(&["restore", &drill.at("b")], &env).await;
    assert!(error.contains("pg_restore is not found in PATH"), "{error}");
}

#[tokio::test]
async fn a_log_on_nats_is_not_restored_without_nats_unless_its_tail_is_abandoned() {
    let (deployment, drill) = backed_up(Mode::Nats).await;
    deployment.agentbus().kill9();
    let mut env = drill.empty("restored").await;
    let url = env.insert("NATS_URL".to_owned(), "nats://127.0.0.1:9".to_owned());
    let error = refused(&["restore", &drill.at("b")], &env).await;
    assert!(error.contains("--abandon-tail"), "{error}");
    done(&["restore", &drill.at("b"), "--abandon-tail"], &env).await;
    env.insert("NATS_URL".to_owned(), url.expect("a server"));
    let server = drill.serve(&env).await;
    assert_eq!(records::history(&server.http(), "").await.len(), 10);
    server.terminate().await;
}

/// Puts a program in front of PostgreSQL's: it does `first`, writes `begun`, and ends no sooner than who
/// started it.
fn stuck(drill: &Drill, program: &str, first: &str) -> Env {
    let bin = drill.folder.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let real = programs::postgres(program);
    let (path, real) = (bin.join(program), real.display().to_string());
    let begun = drill.at("begun");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) exec {real} --version;; esac\n{first}\necho > {begun}\nwhile kill -0 $PPID 2>/dev/null; do sleep 0.1; done\n",
        first = first.replace("REAL", &real),
    );
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let psql = programs::postgres("psql");
    let after = psql.parent().expect("a folder").display();
    let path = format!("{}:{after}:/usr/bin:/bin", bin.display());
    Env::from([("PATH".to_owned(), path)])
}

/// Starts a command, and kills it once `begun` holds.
async fn kill_when(args: &[&str], env: &Env, what: &str, begun: impl Fn() -> bool) {
    let mut child = command(args, env).spawn().expect("it runs");
    eventually(LIMIT, what, async || begun().then_some(())).await;
    child.start_kill().expect("killed");
    child.wait().await.expect("it ends");
}

#[tokio::test]
async fn a_backup_that_is_killed_is_no_backup() {
    let (_server, drill) = backed_up(Mode::MemoryPostgres).await;
    let mut env = drill.env.clone();
    env.extend(stuck(&drill, "pg_dump", "REAL \"$@\""));
    let begun = drill.folder.join("begun");
    kill_when(&["backup", &drill.at("c")], &env, "pg_dump has written", || begun.exists()).await;
    assert!(drill.folder.join("c").exists());
    let target = drill.empty("restored").await;
    let error = refused(&["restore", &drill.at("c")], &target).await;
    assert!(error.contains("is not a complete backup"), "{error}");
    let error = refused(&["backup", &drill.at("c")], &drill.env).await;
    assert!(error.contains("is not empty"), "{error}");
}

#[tokio::test]
async fn a_restore_to_postgres_that_is_killed_leaves_an_empty_database() {
    let (deployment, drill) = backed_up(Mode::MemoryPostgres).await;
    let target = drill.empty("restored").await;
    let mut env = target.clone();
    env.extend(stuck(&drill, "pg_restore", "REAL \"$@\""));
    let begun = drill.folder.join("begun");
    let all_but_the_end = || begun.exists();
    kill_when(&["restore", &drill.at("b")], &env, "all is sent", all_but_the_end).await;
    // PostgreSQL ends the sessions of the killed processes by itself.
    let made = eventually(LIMIT, "the database is free again", async || {
        let output = super::run(&["restore", &drill.at("b")], &target).await;
        output.status.success().then_some(output)
    });
    made.await;
    deployment.agentbus().kill9();
    let server = drill.serve(&target).await;
    assert_eq!(records::history(&server.http(), "").await.len(), 10);
    server.terminate().await;
}

#[tokio::test]
async fn a_restore_to_sqlite_that_is_killed_leaves_no_store_or_a_whole_one() {
    let (deployment, drill) = backed_up(Mode::MemorySqlite).await;
    deployment.agentbus().kill9();
    for round in 0..10 {
        let env = drill.empty(&format!("restored-{round}")).await;
        let dir = Drill::data_dir(&env);
        let unfinished = dir.join(".agentbus-restore");
        let over = dir.join("agentbus.db");
        let begun = || unfinished.exists() || over.exists();
        kill_when(&["restore", &drill.at("b")], &env, "it has begun", begun).await;
        if !over.exists() {
            done(&["restore", &drill.at("b")], &env).await;
        }
        let server: Agentbus = drill.serve(&env).await;
        assert_eq!(records::history(&server.http(), "").await.len(), 10);
        server.terminate().await;
    }
}
