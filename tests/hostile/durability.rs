//! `committed` is true whatever the database's settings are, and SQLite's WAL stays small beside readers.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use crate::support::{Agentbus, Deployment, Mode, Postgres, wait};

const LIMIT: Duration = Duration::from_secs(30);

async fn sql(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    connection.execute(AssertSqlSafe(statement.to_owned())).await.expect("done");
    connection.close().await.expect("closes");
}

/// A PostgreSQL that flushes asynchronous commits every ten seconds, and the URL of a database in it with
/// `synchronous_commit = off`.
async fn lazy() -> (Postgres, String) {
    let postgres = Postgres::start().await;
    let url = postgres.database().await;
    let name = url.rsplit('/').next().expect("a name");
    sql(&url, "ALTER SYSTEM SET wal_writer_delay = '10s'").await;
    sql(&url, "SELECT pg_reload_conf()").await;
    sql(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    (postgres, url)
}

#[tokio::test]
async fn what_is_committed_survives_a_database_that_commits_lazily() {
    let (postgres, url) = lazy().await;
    let agentbus = Agentbus::builder().memory_postgres(&url).start().await;
    let http = agentbus.http();
    for n in 0..20 {
        let body =
            json!({"kind": "message", "type": "note", "sender_id": "a", "content": n.to_string()});
        let answer = http.post_json("/v1/messages", &body).await.expect(201).json();
        assert_eq!(answer["durability"], "committed");
        let job = http.post_json("/v1/queues/work/jobs", &json!({"type": "a", "payload": n})).await;
        job.expect(201);
    }
    postgres.kill9();
    agentbus.kill9();
    postgres.restart().await;
    agentbus.restart().await;
    let page = agentbus.http().get("/v1/messages").await.expect(200).json();
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(20));
    let queue = agentbus.http().get("/v1/queues/work").await.expect(200).json();
    assert_eq!(queue["waiting"], 20, "{queue}");
}

fn doctor(url: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
    command.arg("doctor").env_clear().env("MESSAGE_BUS", "memory").env("DATABASE_URL", url);
    let output = command.output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn a_database_that_does_not_sync_is_reported_as_a_warning() {
    let postgres = Postgres::start().await;
    let url = postgres.database().await;
    let (good, report) = doctor(&url);
    assert!(good && report.contains("durability"), "{report}");
    sql(&url, "ALTER SYSTEM SET fsync = off").await;
    sql(&url, "SELECT pg_reload_conf()").await;
    let agentbus = Agentbus::builder().memory_postgres(&url).start().await;
    assert!(agentbus.log().contains("fsync = off"), "{}", agentbus.log());
    let (good, report) = doctor(&url);
    assert!(!good && report.contains("fsync = off"), "{report}");
}

/// The largest size of SQLite's WAL: what it may reach before it is emptied, and what is written meanwhile.
const MOST: u64 = 96 << 20;
/// How many messages of 1 MB are written: without a bound the WAL would reach twice its largest size.
const WRITTEN: usize = 250;
/// How long each reader keeps one snapshot of the database.
const LOOKS: Duration = Duration::from_millis(40);

#[tokio::test]
async fn the_wal_of_sqlite_stays_small_with_a_permanent_reader() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let file = deployment.agentbus().data_dir().join("agentbus.db");
    let stop = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn(always_read(file.clone(), Arc::clone(&stop)));
    let large = "x".repeat(1_000_000);
    let message = json!({"kind": "message", "type": "note", "sender_id": "a", "content": large});
    let (mut most, wal) = (0, file.with_extension("db-wal"));
    for _ in 0..WRITTEN {
        deployment.http().post_json("/v1/messages", &message).await.expect(201);
        most = most.max(std::fs::metadata(&wal).expect("a log").len());
    }
    stop.store(true, Ordering::Relaxed);
    let looked = reading.await.expect("the reader ends");
    eprintln!("SQLite's log: {} MiB at most, beside {looked} looks", most >> 20);
    assert!(looked > 20, "the reader was at work");
    assert!(most <= MOST, "{} MiB", most >> 20);
}

/// Reads so that snapshots overlap, until stopped; returns the number of snapshots.
async fn always_read(file: std::path::PathBuf, stop: Arc<AtomicBool>) -> usize {
    let options = SqliteConnectOptions::new().filename(file);
    let mut open = options.connect().await.expect("opens");
    let mut next = options.connect().await.expect("opens");
    const LOOK: &str = "BEGIN; SELECT count(*) FROM log_state";
    open.execute(LOOK).await.expect("reads");
    let mut looked = 1;
    while !stop.load(Ordering::Relaxed) {
        // This is how long the snapshot lasts, not a wait for something.
        assert!(wait::poll(LOOKS, async || None::<()>).await.is_none());
        next.execute(LOOK).await.expect("reads");
        open.execute("COMMIT").await.expect("ends");
        std::mem::swap(&mut open, &mut next);
        looked += 1;
    }
    looked
}

#[tokio::test]
async fn the_wal_of_sqlite_stays_small_under_constant_reads_of_pages() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let http = deployment.http();
    let wal = deployment.agentbus().data_dir().join("agentbus.db-wal");
    let message = json!({"kind": "message", "type": "note", "sender_id": "a", "content": "x".repeat(1_000_000)});
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (http, stop) = (http.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    http.get("/v1/messages?order=desc&limit=8").await.expect(200);
                }
            })
        })
        .collect();
    let mut most = 0;
    for _ in 0..WRITTEN {
        http.post_json("/v1/messages", &message).await.expect(201);
        most = most.max(std::fs::metadata(&wal).expect("a log").len());
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("the reader ends");
    }
    eprintln!("SQLite's log: {} MiB at most, beside pages of history", most >> 20);
    assert!(most <= MOST, "{} MiB", most >> 20);
    still_ready(&deployment).await;
}

/// Fails the test unless the server is ready within [`LIMIT`].
async fn still_ready(deployment: &Deployment) {
    wait::within(LIMIT, "an answer", deployment.http().get("/readyz")).await.expect(200);
}
