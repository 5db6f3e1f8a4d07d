//! A server that has lost its store to another server detects that, logs it and ends its streams. A server
//! that is refused has changed nothing.

use std::fs;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

use crate::support::{Agentbus, Deployment, Mode, Sse, Stop, eventually, within};

const LIMIT: Duration = Duration::from_secs(30);
/// Takes the lock that a server takes when it joins.
const LOCK: &str = "SELECT pg_advisory_lock(hashtextextended('agentbus ' || current_schema(), 0))";
/// Ends the database session that has this lock.
const END_HOLDER: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
     AND mode = 'ExclusiveLock' AND granted AND pid <> pg_backend_pid() \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const WAITS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
/// Claims the store as another server does.
const CLAIM: &str = "UPDATE log_state SET lease_epoch = lease_epoch + 1, \
     lease_owner = '00000000-0000-0000-0000-000000000001', lease_until = now() + interval '3 s'";

fn message() -> serde_json::Value {
    json!({"kind": "message", "type": "note", "sender_id": "a", "content": ""})
}

/// Fails the test unless the server stops by itself, with failure, its streams end, and its log has the
/// reason.
async fn assert_ends(agentbus: &Agentbus, mut stream: Sse) {
    let end = async {
        loop {
            if let Err(stop) = stream.try_next(LIMIT).await {
                return stop;
            }
        }
    };
    let stop = within(LIMIT, "the stream ends", end).await;
    assert!(matches!(stop, Stop::Ended(_)), "{stop:?}");
    let status = agentbus.wait_exit(LIMIT).await;
    assert!(!status.success(), "{status}");
    assert!(agentbus.log().contains("another server"), "{}", agentbus.log());
}

#[tokio::test]
async fn a_server_on_sqlite_notices_that_another_has_its_file() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let agentbus = deployment.agentbus();
    deployment.http().post_json("/v1/messages", &message()).await.expect(201);
    let mut stream = deployment.http().stream("from=start", None).await;
    stream.expect_ready().await;
    // When an operator deletes the claim, the next server can start.
    agentbus.pause();
    fs::remove_file(agentbus.data_dir().join("agentbus.lock")).expect("removed");
    let dir = agentbus.data_dir().display().to_string();
    let other = agentbus.like().env("DATA_DIR", &dir).start().await;
    agentbus.resume();
    other.http().post_json("/v1/messages", &message()).await.expect(201);
    assert_ends(agentbus, stream).await;
    other.http().get("/readyz").await.expect(200);
}

#[tokio::test]
async fn a_server_on_sqlite_takes_its_lock_again() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let agentbus = deployment.agentbus();
    let lock = agentbus.data_dir().join("agentbus.lock");
    fs::remove_file(&lock).expect("removed");
    eventually(LIMIT, "it locks a file of that name again", async || lock.exists().then_some(()))
        .await;
    let dir = agentbus.data_dir().display().to_string();
    let refusal = agentbus.like().env("DATA_DIR", &dir).expect_refusal().await;
    assert!(refusal.contains("another agentbus process"), "{refusal}");
    deployment.http().post_json("/v1/messages", &message()).await.expect(201);
}

#[tokio::test]
async fn a_server_whose_file_was_replaced_says_so_and_stops() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let agentbus = deployment.agentbus();
    let mut stream = deployment.http().stream("from=start", None).await;
    stream.expect_ready().await;
    let dir = agentbus.data_dir();
    fs::rename(dir.join("agentbus.db"), dir.join("moved.db")).expect("moved");
    let status = agentbus.wait_exit(LIMIT).await;
    assert!(!status.success(), "{status}");
    assert!(agentbus.log().contains("moved or removed"), "{}", agentbus.log());
}

#[tokio::test]
async fn a_server_on_postgres_notices_that_another_has_its_database() {
    let deployment = Deployment::start(Mode::MemoryPostgres).await;
    let agentbus = deployment.agentbus();
    let mut stream = deployment.http().stream("from=start", None).await;
    stream.expect_ready().await;
    let url = deployment.pg_url().expect("on PostgreSQL").to_owned();
    let mut admin = PgConnection::connect(&url).await.expect("connects");
    let mut other = PgConnection::connect(&url).await.expect("connects");
    let take = tokio::spawn(async move {
        other.execute(LOCK).await.expect("locked");
        other
    });
    eventually(LIMIT, "another waits for its lock", async || {
        let row = admin.fetch_one(WAITS).await.expect("answers");
        (row.get::<i64, _>(0) == 1).then_some(())
    })
    .await;
    admin.execute(END_HOLDER).await.expect("ended");
    let mut other = within(LIMIT, "another has the lock", take).await.expect("it ends");

    // No other server has written yet, so this one cannot tell whether it has lost the store. It reports that its
    // membership is in doubt.
    eventually(LIMIT, "it is not ready", async || {
        let answer = deployment.http().get("/readyz").await;
        (answer.status == 503 && answer.text().contains("membership of this server")).then_some(())
    })
    .await;
    let shown = deployment.http().get("/readyz?verbose").await.expect(503).json();
    assert_eq!(shown["parts"]["membership"]["ok"], false, "{shown}");
    let metrics = deployment.http().get("/metrics").await.expect(200).text();
    assert!(metrics.lines().any(|line| line == "agentbus_membership_held 0"), "{metrics}");

    other.execute(CLAIM).await.expect("claimed");
    assert_ends(agentbus, stream).await;
}

#[tokio::test]
async fn a_server_on_postgres_is_ready_again_once_it_has_the_lock_again() {
    let deployment = Deployment::start(Mode::MemoryPostgres).await;
    let url = deployment.pg_url().expect("on PostgreSQL");
    let mut admin = PgConnection::connect(url).await.expect("connects");
    admin.execute(END_HOLDER).await.expect("ended");
    eventually(LIMIT, "its log reports it", async || {
        deployment.agentbus().log().contains("lost the session").then_some(())
    })
    .await;
    deployment.agentbus().wait_ready().await;
    deployment.http().post_json("/v1/messages", &message()).await.expect(201);
}
