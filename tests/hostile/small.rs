//! Short requests get short responses, and a mistyped URL shows no secret.

use std::time::Duration;

use agentbus::limits::{STORE_CONTROLS, STORE_CURSORS, STORE_JOBS, STORE_READERS, STORE_WORKERS};
use serde_json::json;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use crate::support::folder::Folder;
use crate::support::{Agentbus, Deployment, Mode, within};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_long_query_gets_a_short_response() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let http = server.http();
    let (many, long) = ("a&".repeat(30_000), "n".repeat(60_000));
    for path in ["/v1/messages", "/v1/stream", "/v1/stats", "/v1/agents", "/v1/webhooks"] {
        for query in [&many, &long] {
            let answer = http.get(&format!("{path}?{query}")).await.expect(422);
            assert!(answer.bytes.len() < 10_000, "{path}: {} bytes", answer.bytes.len());
            let errors = answer.json()["errors"].as_array().expect("errors").len();
            assert!((1..=64).contains(&errors), "{path}: {errors} errors");
        }
    }
}

#[tokio::test]
async fn a_long_member_is_not_returned_in_full() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let body = format!("{{\"{}\":1}}", "/".repeat(1_000_000));
    for path in ["/v1/messages", "/v1/webhooks"] {
        let answer = server.http().post(path, "application/json", body.clone()).await.expect(422);
        assert!(answer.bytes.len() < 10_000, "{path}: {} bytes", answer.bytes.len());
    }
}

#[tokio::test]
async fn a_malformed_line_of_env_is_reported_by_its_number_only() {
    let folder = Folder::new("env");
    std::fs::write(folder.join(".env"), "DRAIN_S=5\n\nNATS_PASSWORD hunter2\n").expect("written");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentbus"))
        .arg("serve")
        .env_clear()
        .current_dir(folder.path())
        .kill_on_drop(true)
        .output();
    let output = within(LIMIT, "it refuses to start", output).await.expect("it runs");
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(text.contains(".env: line 3") && !text.contains("hunter2"), "{text}");
}

/// The number of connections to PostgreSQL in `docs/operations.md` is what the pools, one writer and one lock
/// may open.
#[tokio::test]
async fn a_server_has_no_more_connections_than_the_documentation_says() {
    let docs = include_str!("../../docs/operations.md");
    let stated = docs
        .split_once("**Connections.** Up to ")
        .and_then(|(_, rest)| rest.split_once(" a server:"));
    let stated: u32 = stated.and_then(|(number, _)| number.parse().ok()).expect("a number");
    let pools = STORE_READERS + STORE_CONTROLS + STORE_CURSORS + STORE_JOBS + STORE_WORKERS;
    assert_eq!(stated, pools + 2);
    let deployment = Deployment::start(Mode::MemoryPostgres).await;
    let mut load = JoinSet::new();
    for n in 0..64 {
        let http = deployment.http().clone();
        load.spawn(async move {
            let note = json!({"kind": "message", "type": "note", "sender_id": "ann", "recipient_id": "bob"});
            let made = http.post_json("/v1/messages?ack=committed", &note).await.expect(201).json();
            let through = json!({"through": made["seq"]});
            http.post_json(&format!("/v1/agents/bob-{n}/inbox/ack"), &through).await.expect(200);
            let job = json!({"type": "build", "payload": {}});
            http.post_json("/v1/queues/builds/jobs", &job).await.expect(201);
            http.post_json("/v1/queues/builds/lease", &json!({"max": 1})).await;
            http.get("/v1/messages?sender=ann").await.expect(200);
        });
    }
    while let Some(done) = load.join_next().await {
        done.expect("no panic");
    }
    let url = deployment.pg_url().expect("PostgreSQL");
    let mut own = sqlx::PgConnection::connect(url).await.expect("the database");
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'agentbus'";
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut own).await.expect("a count");
    assert!(count <= i64::from(stated), "{count} connections");
    eprintln!("{count} connections to PostgreSQL");
}
