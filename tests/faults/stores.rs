//! The store refuses writes, is read-only, or is full: what cannot be committed is not acknowledged as
//! committed, and what was acknowledged is in the log afterwards.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::load::{Load, PATIENCE};
use crate::support::times;
use crate::support::{Agentbus, Deployment, Http, Mode, Nats, Postgres, eventually};
use crate::verdict;

/// The largest file the server may write: room for a few thousand messages and their indices.
const FILE_KIB: u64 = 6_144;

async fn refused(http: &Http, status: u16) {
    eventually(PATIENCE, "publishing is refused", async || {
        let message = json!({"kind": "message", "type": "x", "sender_id": "probe", "content": "x"});
        (http.post_json("/v1/messages", &message).await.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sqlite_that_cannot_write_acknowledges_nothing_and_loses_nothing() {
    for _ in 0..times(1, 5) {
        let deployment = Deployment::start(Mode::MemorySqlite).await;
        let agentbus = deployment.agentbus();
        agentbus.terminate().await;
        agentbus.limit_files(Some(FILE_KIB));
        agentbus.restart().await;
        let http = deployment.http();
        let load = Load::start(&[deployment.bus()], 6, 2);
        refused(http, 503).await;
        http.get("/v1/messages?limit=1").await.expect(200);
        assert_eq!(http.get("/readyz").await.status, 503);
        agentbus.terminate().await;
        agentbus.limit_files(None);
        agentbus.restart().await;
        let took = load.acknowledged(100).await;
        eprintln!("SQLite without room: {took:.1?} from the restart to 100 acknowledgements");
        verdict::check("SQLite without room", load, &[deployment.bus()], None).await;
    }
}

/// Makes the database accept only reads (or ends that), as clients that stay connected see a failover.
async fn read_only(pg_url: &str, on: bool) {
    let (server, database) = pg_url.rsplit_once('/').expect("a database");
    let mut admin = PgConnection::connect(&format!("{server}/postgres")).await.expect("connects");
    let change = format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = {on}");
    sqlx::query(AssertSqlSafe(change)).execute(&mut admin).await.expect("set");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(end).bind(database).execute(&mut admin).await.expect("ended");
}

#[tokio::test]
async fn postgres_failed_over_to_a_read_only_copy_and_back() {
    let nats = Nats::start().await;
    let postgres = Postgres::start().await;
    let pg_url = postgres.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let load = Load::start(&[agentbus.url()], 6, 2);
    for _ in 0..times(2, 10) {
        load.acknowledged(100).await;
        read_only(&pg_url, true).await;
        let took = load.acknowledged(200).await;
        eprintln!("PostgreSQL read-only: 200 more acknowledged in {took:.1?}");
        agentbus.http().get("/v1/messages?limit=1").await.expect(200);
        read_only(&pg_url, false).await;
    }
    load.acknowledged(100).await;
    verdict::check("PostgreSQL read-only", load, &[agentbus.url()], Some(&nats)).await;
}

#[tokio::test]
async fn the_memory_bus_on_a_read_only_postgres_refuses_and_recovers() {
    let postgres = Postgres::start().await;
    let pg_url = postgres.database().await;
    let agentbus = Agentbus::builder().memory_postgres(&pg_url).start().await;
    let load = Load::start(&[agentbus.url()], 4, 2);
    load.acknowledged(100).await;
    read_only(&pg_url, true).await;
    refused(&agentbus.http(), 503).await;
    read_only(&pg_url, false).await;
    let took = load.acknowledged(100).await;
    eprintln!("memory bus, PostgreSQL writable again: 100 acknowledged in {took:.1?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    verdict::check("memory bus, PostgreSQL read-only", load, &[agentbus.url()], None).await;
}
