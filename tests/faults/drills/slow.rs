//! Parts that work, and are too slow: a server without processor time, a table that is locked, a WAL that grows.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{Alerts, Pace, parts};
use crate::load::{Load, PATIENCE};
use crate::support::{Agentbus, Http, Nats, Postgres, eventually};
use crate::verdict;

/// How long a server stands still at a time: longer than a delivery may take.
const STANDSTILL: Duration = Duration::from_millis(1_500);
/// How long the table is locked at a time: too short for a query to time out.
const LOCKED: Duration = Duration::from_millis(800);
/// More than the connections of every pool.
const READERS: usize = 40;

#[tokio::test]
async fn a_server_has_too_little_processor_time() {
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let first = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let slow = first.like().start().await;
    let (alerts, days) = (Alerts::of(&[&slow]).await, Alerts::paced(&[&slow], Pace::HOUR).await);
    let elsewhere = Load::start(&[first.url()], 4, 0);
    let load = Load::start(&[slow.url()], 1, 3);
    eventually(PATIENCE, "the alerts fire", async || {
        slow.pause();
        // This is how long the fault lasts, not a wait for something.
        sleep(STANDSTILL).await;
        slow.resume();
        load.acknowledged(1).await;
        let fast = alerts.is_firing("AgentbusFreshnessBurnFast").await;
        (fast && days.is_firing("AgentbusFreshnessBurnSlow").await).then_some(())
    })
    .await;
    alerts.resolve(&["AgentbusFreshnessBurnFast"]).await;
    days.resolve(&["AgentbusFreshnessBurnSlow"]).await;
    assert!(!elsewhere.end().await.acked.is_empty());
    verdict::check("drill: a slow server", load, &[first.url(), slow.url()], Some(&nats)).await;
}

#[tokio::test]
async fn sessions_lock_the_table_again_and_again() {
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let alerts = Alerts::of(&[&server]).await;
    let readers: Vec<_> =
        (0..READERS).map(|_| AbortOnDropHandle::new(read(server.http()))).collect();
    let mut session = PgConnection::connect(&pg_url).await.expect("a session");
    eventually(PATIENCE, "the alert fires", async || {
        session.execute("BEGIN; LOCK TABLE messages").await.expect("locked");
        // This is how long the fault lasts, not a wait for something.
        sleep(LOCKED).await;
        session.execute("ROLLBACK").await.expect("unlocked");
        alerts.is_firing("AgentbusPoolExhausted").await.then_some(())
    })
    .await;
    drop(readers);
    alerts.resolve(&["AgentbusPoolExhausted"]).await;
    server.http().get("/v1/messages").await.expect(200);
}

/// Reads history, again and again.
fn read(http: Http) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            http.get("/v1/messages").await;
        }
    })
}

#[tokio::test]
async fn a_reader_keeps_the_wal() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let (http, alerts) = (server.http(), Alerts::of(&[&server]).await);
    let file = format!("sqlite://{}", server.data_dir().join("agentbus.db").display());
    let mut reader = SqliteConnection::connect(&file).await.expect("the database");
    reader.execute("BEGIN; SELECT count(*) FROM messages").await.expect("a view is open");
    eventually(PATIENCE, "the alert fires", async || {
        join_all((0..READERS).map(|_| parts::post_large(&http))).await;
        alerts.is_firing("AgentbusWalLarge").await.then_some(())
    })
    .await;
    reader.execute("ROLLBACK").await.expect("closed");
    eventually(PATIENCE, "the next checkpoint", async || {
        assert_eq!(parts::post_large(&http).await, 201);
        (!alerts.is_firing("AgentbusWalLarge").await).then_some(())
    })
    .await;
}
