//! Tests of the test support: servers keep their data through stops and kills, and frames are parsed by the
//! standard.

use std::time::Duration;

use crate::support::sse_frame::{Frame, Parser};
use crate::support::{Nats, Postgres, eventually, within};
use futures_util::StreamExt;
use sqlx::{Connection, Row};

const LIMIT: Duration = Duration::from_secs(10);

async fn publish(nats: &Nats, n: usize) -> u64 {
    let js = nats.jetstream().await;
    js.get_or_create_stream(async_nats::jetstream::stream::Config {
        name: "s".into(),
        subjects: vec!["s.>".into()],
        ..Default::default()
    })
    .await
    .expect("stream");
    let mut last = 0;
    for i in 0..n {
        last = js
            .publish(format!("s.{i}"), "x".into())
            .await
            .expect("pub")
            .await
            .expect("ack")
            .sequence;
    }
    last
}

#[tokio::test]
async fn nats_keeps_its_port_and_files_through_stops_and_kills() {
    let nats = Nats::start().await;
    assert_eq!(publish(&nats, 5).await, 5);
    let url = nats.url();
    nats.kill9();
    assert!(!nats.is_running());
    nats.restart().await;
    assert_eq!(nats.url(), url);
    assert_eq!(publish(&nats, 5).await, 10);
    nats.stop_gracefully().await;
    nats.restart().await;
    nats.restart().await;
    assert_eq!(publish(&nats, 5).await, 15);
}

#[tokio::test]
async fn a_frozen_nats_answers_no_one_and_continues_afterwards() {
    let nats = Nats::builder().sync_interval("always").max_payload(2 << 20).start().await;
    let client = nats.client().await;
    let mut sub = client.subscribe("a").await.expect("sub");
    client.flush().await.expect("flush");
    assert_eq!(client.server_info().max_payload, 2 << 20);
    nats.pause();
    client.publish("a", "x".into()).await.expect("pub");
    assert!(tokio::time::timeout(Duration::from_millis(200), sub.next()).await.is_err());
    nats.resume();
    within(LIMIT, "message", sub.next()).await.expect("message");
}

#[tokio::test]
async fn a_cluster_survives_the_loss_of_one_node() {
    let servers = Nats::cluster(3).await;
    let client = Nats::client_of(&servers).await;
    let js = async_nats::jetstream::new(client);
    let mut stream = eventually(LIMIT, "stream", async || {
        js.create_stream(async_nats::jetstream::stream::Config {
            name: "s".into(),
            subjects: vec!["s.>".into()],
            num_replicas: 3,
            ..Default::default()
        })
        .await
        .ok()
    })
    .await;
    let leader = stream
        .info()
        .await
        .expect("info")
        .cluster
        .clone()
        .expect("cluster")
        .leader
        .expect("leader");
    servers.iter().find(|s| s.name() == leader).expect("leader").kill9();
    eventually(Duration::from_secs(30), "publish", async || {
        js.publish("s.a", "x".into()).await.ok()?.await.ok()
    })
    .await;
    servers.iter().find(|s| s.name() == leader).expect("leader").restart().await;
}

async fn count(url: &str) -> i64 {
    let mut c = sqlx::PgConnection::connect(url).await.expect("connect");
    sqlx::query("create table if not exists t (i int)").execute(&mut c).await.expect("create");
    sqlx::query("insert into t values (1)").execute(&mut c).await.expect("insert");
    sqlx::query("select count(*) from t").fetch_one(&mut c).await.expect("count").get(0)
}

#[tokio::test]
async fn postgres_keeps_its_port_and_files_through_stops_and_kills() {
    let pg = Postgres::start().await;
    let url = pg.database().await;
    assert_eq!(count(&url).await, 1);
    let open = sqlx::PgConnection::connect(&url).await.expect("connect");
    pg.kill9();
    pg.restart().await;
    drop(open);
    assert_eq!(count(&url).await, 2);
    pg.restart().await;
    let mut c = sqlx::PgConnection::connect(&url).await.expect("connect");
    pg.pause();
    let frozen = sqlx::query("insert into t values (1)").execute(&mut c);
    let mut frozen = Box::pin(frozen);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut frozen).await.is_err());
    pg.resume();
    within(LIMIT, "insert", frozen).await.expect("insert");
}

#[tokio::test]
async fn there_is_one_shared_postgres() {
    let (a, b) = (Postgres::shared().await, Postgres::shared().await);
    assert_eq!(a.port(), b.port());
    assert_ne!(a.database().await, b.database().await);
}

#[test]
fn frames_are_parsed_by_the_standard() {
    let text = "\u{feff}: c\r\nid: 7\rdata:a\ndata: b\ndata:  c\r\n\r\n\r\n\nid\n\nid: 1\0\nretry: 5x\n\nretry:07\nevent:\nfoo: bar\ndata\n\ndata: lost";
    let expected = vec![
        Frame {
            id: Some("7".into()),
            data: Some("a\nb\n c".into()),
            comments: vec![" c".into()],
            ..Frame::default()
        },
        Frame { id: Some(String::new()), ..Frame::default() },
        Frame::default(),
        Frame {
            retry: Some(7),
            event: Some(String::new()),
            data: Some("".into()),
            ..Frame::default()
        },
    ];
    for size in 1..text.len() {
        let mut parser = Parser::default();
        let frames: Vec<Frame> =
            text.as_bytes().chunks(size).flat_map(|c| parser.push(c)).collect();
        assert_eq!(frames, expected, "in pieces of {size}");
    }
}
