//! A server, NATS, PostgreSQL or a disk fails.

use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{ACTION, OVER, Operator, Runbook};
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
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    server.kill9();
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart agentbus");
            server.restart_listening().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    load.acknowledged(50).await;
    verdict::check("drill: server down", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn nats_is_down() {
    let book = Runbook::read("nats-down");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    nats.kill9();
    book.is_seen(&server).await;
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart nats-server");
            nats.restart().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    load.acknowledged(50).await;
    verdict::check("drill: NATS down", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn postgres_is_down() {
    let book = Runbook::read("postgres-down");
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    let server = Agentbus::builder().nats(&nats.url(), &postgres.database().await).start().await;
    let operator = Operator::at(&server);
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    postgres.kill9();
    book.is_seen(&server).await;
    load.acknowledged(50).await;
    operator
        .walks(&book, ACTION, async |unit| {
            assert_eq!(unit, "restart postgresql");
            postgres.restart().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    verdict::check("drill: PostgreSQL down", load, &[server.url()], Some(&nats)).await;
}

#[tokio::test]
async fn a_forgotten_transaction_holds_up_the_projector() {
    let book = Runbook::read("projector-lag");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let operator = Operator::at(&server);
    let mut forgotten = PgConnection::connect(&pg_url).await.expect("a session");
    forgotten.execute("BEGIN; LOCK TABLE messages IN SHARE MODE").await.expect("locked");
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(200).await;
    let output = operator.runs(&book, ACTION).await;
    assert!(output.contains("LOCK TABLE messages"), "the session is not shown: {output}");
    verdict::check("drill: projector lag", load, &[server.url()], Some(&nats)).await;
    operator.runs(&book, OVER).await;
}

/// Posts a message of 20 kB that cannot be compressed; returns the status.
async fn post_large(http: &Http) -> u16 {
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
