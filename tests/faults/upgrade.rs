//! Upgrades and downgrades by one version under load: servers of the previous version and of this one on one stream and
//! one database. The previous version is the commit in `tests/faults/previous`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chores::Chores;
use crate::load::Load;
use crate::support::agentbus::BINARY;
use crate::support::{Agentbus, Nats, Postgres, programs, times};
use crate::verdict;

/// Acknowledgements between two changes.
const BETWEEN: u64 = 150;
/// What an older version logs that starts on the schema of a newer one.
const NEWER_SCHEMA: &str = "the database has migrations of a newer version";

/// How a server ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    Killed,
}

/// How a server ends late in a round. What was being delivered when a server is killed comes again only after the ack wait
/// of 30 s, so in the short run servers are killed at its beginning alone.
fn later(round: usize) -> End {
    if round == 0 { End::Stopped } else { End::Killed }
}

/// Ends a server, and starts another version in its place.
async fn replace(server: &Agentbus, end: End, program: &Path) {
    match end {
        End::Stopped => assert!(server.terminate().await.success()),
        End::Killed => server.kill9(),
    }
    server.set_program(program);
    server.restart().await;
}

/// Changes the version of each server in turn; in between the versions run side by side.
async fn roll(load: &Load, servers: &[&Agentbus], ends: [End; 2], program: &Path) {
    for (server, end) in servers.iter().zip(ends) {
        load.acknowledged(BETWEEN).await;
        replace(server, end, program).await;
        load.acknowledged(BETWEEN).await;
    }
}

/// Whether this version applies migrations to the store of a server of the previous version.
fn is_migrated(server: &Agentbus) -> bool {
    let mut doctor = Command::new(BINARY);
    doctor.arg("doctor").env_clear().envs(server.env()).current_dir(std::env::temp_dir());
    let output = doctor.output().expect("it runs");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success() && told.contains(r#""part":"schema""#), "{told}");
    told.contains("the next start of this version applies")
}

/// Checks that a server of the previous version has run on the newer schema.
fn ran_on_newer_schema(server: &Agentbus, migrated: bool) {
    assert_eq!(server.log().contains(NEWER_SCHEMA), migrated, "{}", server.log());
}

fn versions() -> Option<(PathBuf, PathBuf)> {
    Some((programs::previous()?, PathBuf::from(BINARY)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_on_nats_there_and_back() {
    let Some((previous, this)) = versions() else { return };
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let builder = Agentbus::builder().nats(&nats.url(), &pg_url).program(&previous);
    let first = builder.env("WEBHOOK_ALLOW_PRIVATE", "true").env("DRAIN_S", "2").start().await;
    let second = first.like().start().await;
    let (servers, migrated) = ([&first, &second], is_migrated(&first));
    let urls = servers.map(Agentbus::url);
    let chores = Chores::start(&servers).await;
    let load = Load::start(&urls, 4, 3);
    for round in 0..times(1, 10) {
        roll(&load, &servers, [End::Killed, End::Stopped], &this).await;
        roll(&load, &servers, [End::Stopped, later(round)], &previous).await;
    }
    servers.iter().for_each(|server| ran_on_newer_schema(server, migrated));
    roll(&load, &servers, [End::Stopped, End::Stopped], &this).await;
    let done = chores.end().await;
    verdict::check("upgrades on NATS", load, &urls, Some(&nats)).await;
    done.check("upgrades on NATS", &first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_on_sqlite_there_and_back() {
    let Some((previous, this)) = versions() else { return };
    let builder = Agentbus::builder().memory_sqlite().program(&previous);
    let server = builder.env("WEBHOOK_ALLOW_PRIVATE", "true").env("DRAIN_S", "2").start().await;
    let migrated = is_migrated(&server);
    let chores = Chores::start(&[&server]).await;
    let load = Load::start(&[server.url()], 4, 3);
    for round in 0..times(1, 10) {
        for (end, program) in [
            (End::Killed, &this),
            (End::Stopped, &previous),
            (End::Stopped, &this),
            (later(round), &previous),
        ] {
            load.acknowledged(BETWEEN).await;
            replace(&server, end, program).await;
        }
    }
    load.acknowledged(BETWEEN).await;
    ran_on_newer_schema(&server, migrated);
    replace(&server, End::Stopped, &this).await;
    load.acknowledged(BETWEEN).await;
    let done = chores.end().await;
    verdict::check("upgrades on SQLite", load, &[server.url()], None).await;
    done.check("upgrades on SQLite", &server).await;
}
