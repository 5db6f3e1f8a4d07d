//! A safety net for refactoring: one fixed conversation with every route and stream, recorded as it appears
//! on the wire, on both buses and both stores.
//!
//! The test fails if the transcript differs from the recorded one. If the difference is wanted, record again
//! with `AGENTBUS_RECORD=1 scripts/test --test it transcripts` and read the diff.

mod conversation;
mod recorder;
mod routes;

use std::path::PathBuf;

use crate::support::{Deployment, Mode};
use recorder::Recorder;

/// A command that succeeds, except for messages with the content `bad`.
const HANDLER: &str =
    r#"read -r line; case "$line" in *'"content":"bad"'*) echo no such thing >&2; exit 3 ;; esac"#;

async fn as_recorded(mode: Mode, name: &str) {
    let tune = |builder: crate::support::agentbus::Builder| {
        builder.env("PROCESSOR_EXEC", HANDLER).env("WEBHOOK_ALLOW_PRIVATE", "true")
    };
    let deployment = Deployment::tuned(mode, tune).await;
    let mut recorder = Recorder::new(&deployment);
    conversation::run(&mut recorder).await;
    routes::all_are_in(&recorder);
    let (now, path) = (recorder.transcript(), recorded(name));
    if std::env::var_os("AGENTBUS_RECORD").is_some() {
        std::fs::write(&path, now).expect("recorded");
        return;
    }
    let before = std::fs::read_to_string(&path).expect("a recorded transcript");
    let differs = now.lines().zip(before.lines()).position(|(now, before)| now != before);
    let line = differs.unwrap_or(now.lines().count().min(before.lines().count()));
    let around = |text: &str| {
        let from = line.saturating_sub(12);
        text.lines().skip(from).take(20).collect::<Vec<_>>().join("\n")
    };
    assert!(
        now == before,
        "{name}, line {}: was\n{}\n\nis now\n{}",
        line + 1,
        around(&before),
        around(&now)
    );
}

fn recorded(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/transcripts/recorded");
    PathBuf::from(folder).join(format!("{name}.txt"))
}

#[tokio::test]
async fn memory_sqlite() {
    as_recorded(Mode::MemorySqlite, "memory_sqlite").await;
}

#[tokio::test]
async fn memory_postgres() {
    as_recorded(Mode::MemoryPostgres, "memory_postgres").await;
}

#[tokio::test]
async fn nats() {
    as_recorded(Mode::Nats, "nats").await;
}
