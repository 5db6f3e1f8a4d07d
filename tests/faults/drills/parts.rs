//! A server, NATS, PostgreSQL or a disk fails.

use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{ACTION, Alerts, OVER, Operator, Pace, Runbook};
use crate::disk::Disk;
use crate::load::{Load, PATIENCE};
use crate::support::{Agentbus, Http, Nats, Postgres, eventually};
use crate::verdict;

#[tokio::test]
async fn a_server_is_down() {
    let book = Runbook::read("server-down");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let alerts = Alerts::of(&[&server]).await;
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    server.kill9();
    alerts.fire(&["AgentbusServerDown", "AgentbusAllServersDown"]).await;
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart agentbus");
            server.restart_listening().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    load.acknowledged(50).await;
    alerts.resolve(&["AgentbusServerDown", "AgentbusAllServersDown"]).await;
    verdict::check("drill: server down", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn nats_is_down() {
    let book = Runbook::read("nats-down");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let (alerts, days) =
        (Alerts::of(&[&server]).await, Alerts::paced(&[&server], Pace::HOUR).await);
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    nats.kill9();
    book.is_seen(&server).await;
    let fired = ["AgentbusNatsDown", "AgentbusPublishBurnFast", "AgentbusMetricsStale"];
    alerts.fire(&fired).await;
    days.fire(&["AgentbusPublishBurnSlow"]).await;
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart nats-server");
            nats.restart().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    load.acknowledged(50).await;
    alerts.resolve(&fired).await;
    days.resolve(&["AgentbusPublishBurnSlow"]).await;
    verdict::check("drill: NATS down", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn nats_restarts_again_and_again() {
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    // Its window is 45 s, which six restarts fit in on a busy machine, too.
    let alerts = Alerts::paced(&[&server], Pace(20)).await;
    let load = Load::start(&[server.url()], 4, 2);
    eventually(PATIENCE, "the alert fires", async || {
        load.acknowledged(20).await;
        nats.restart().await;
        alerts.is_firing("AgentbusNatsFlapping").await.then_some(())
    })
    .await;
    load.acknowledged(50).await;
    alerts.resolve(&["AgentbusNatsFlapping"]).await;
    verdict::check("drill: NATS flaps", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn postgres_is_down() {
    let book = Runbook::read("postgres-down");
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    let server = Agentbus::builder().nats(&nats.url(), &postgres.database().await).start().await;
    let operator = Operator::at(&server);
    let alerts = Alerts::of(&[&server]).await;
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    postgres.kill9();
    book.is_seen(&server).await;
    load.acknowledged(50).await;
    let fired = ["AgentbusStoreDown", "AgentbusMembershipLost", "AgentbusNoProjector"];
    alerts.fire(&fired).await;
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart postgresql");
            postgres.restart().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    alerts.resolve(&fired).await;
    verdict::check("drill: PostgreSQL down", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn a_forgotten_transaction_holds_up_the_projector() {
    let book = Runbook::read("projector-lag");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let builder = Agentbus::builder().nats(&nats.url(), &pg_url).env("NATS_MAX_MSGS", "20000");
    let server = builder.start().await;
    let operator = Operator::at(&server);
    let (alerts, days) =
        (Alerts::of(&[&server]).await, Alerts::paced(&[&server], Pace::HOUR).await);
    let mut forgotten = PgConnection::connect(&pg_url).await.expect("a session");
    forgotten.execute("BEGIN; LOCK TABLE messages IN SHARE MODE").await.expect("locked");
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(11_000).await;
    let fired = ["AgentbusProjectorBurnFast", "AgentbusStreamFilling"];
    alerts.fire(&fired).await;
    days.fire(&["AgentbusProjectorBurnSlow"]).await;
    let output = operator.runs(&book, ACTION).await;
    assert!(output.contains("LOCK TABLE messages"), "the session is not shown: {output}");
    verdict::check("drill: projector lag", load, &[server.url()], None).await;
    operator.runs(&book, OVER).await;
    alerts.resolve(&fired).await;
    days.resolve(&["AgentbusProjectorBurnSlow"]).await;
}

#[tokio::test]
async fn the_store_refuses_columns() {
    const REFUSE: &str = "ALTER TABLE messages ADD CONSTRAINT mine CHECK (sender_id <> 'probe')";
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let alerts = Alerts::of(&[&server]).await;
    // A counter that is new has no increase: the first refusal makes it.
    let mut session = PgConnection::connect(&pg_url).await.expect("a session");
    session.execute(REFUSE).await.expect("added");
    let http = server.http();
    eventually(PATIENCE, "the alert fires", async || {
        post_large(&http).await;
        alerts.is_firing("AgentbusBareRows").await.then_some(())
    })
    .await;
    session.execute("ALTER TABLE messages DROP CONSTRAINT mine").await.expect("dropped");
    alerts.resolve(&["AgentbusBareRows"]).await;
}

/// Posts a message of 20 kB that cannot be compressed; returns the status.
pub(super) async fn post_large(http: &Http) -> u16 {
    let content: String = std::iter::repeat_with(fastrand::alphanumeric).take(20_000).collect();
    let message = json!({"kind": "message", "type": "x", "sender_id": "probe", "content": content});
    http.post_json("/v1/messages", &message).await.status
}

#[tokio::test]
async fn the_disk_of_nats_is_full() {
    let book = Runbook::read("disk-full");
    let Some(disk) = Disk::mount(6) else { return };
    let nats = Nats::builder().store_dir(disk.path()).max_file_store(1 << 30).start().await;
    let pg_url = Postgres::shared().await.database().await;
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let (http, operator) = (server.http(), Operator::at(&server));
    let load = Load::start(&[server.url()], 4, 2);
    eventually(PATIENCE, "the disk is full", async || {
        (post_large(&http).await == 503).then_some(())
    })
    .await;
    // "Make room: enlarge the volume."
    disk.resize(512);
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart nats-server");
            nats.restart().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    verdict::check("drill: disk full", load, &[server.url()], Some(&nats)).await;
    drop(nats);
}

#[tokio::test]
async fn the_disk_of_sqlite_is_nearly_full() {
    let Some(disk) = Disk::mount(24) else { return };
    let folder = disk.path().join("data");
    let data_dir = folder.to_str().expect("UTF-8");
    let server = Agentbus::builder().memory_sqlite().env("DATA_DIR", data_dir).start().await;
    let (http, alerts) = (server.http(), Alerts::of(&[&server]).await);
    eventually(PATIENCE, "the disk is full", async || {
        (post_large(&http).await == 503).then_some(())
    })
    .await;
    alerts.fire(&["AgentbusDiskLow"]).await;
    disk.resize(512);
    alerts.resolve(&["AgentbusDiskLow"]).await;
    eventually(PATIENCE, "posts are accepted", async || {
        (post_large(&http).await == 201).then_some(())
    })
    .await;
    drop(server);
}
