//! A server that starts without NATS or its database: it listens, reports what it waits for, and becomes
//! ready once that is there.

use std::time::Instant;

use crate::load::{Load, PATIENCE};
use crate::support::streams::message;
use crate::support::{Agentbus, Nats, Postgres, eventually};
use crate::verdict;

/// Waits until `/readyz` names what is absent. Meanwhile publishing is refused, and the process is alive.
async fn waits_for(agentbus: &Agentbus, what: &str) {
    let http = agentbus.http();
    eventually(PATIENCE, "readiness names what is absent", async || {
        let answer = http.get("/readyz?verbose").await.expect(503);
        answer.text().contains(what).then_some(())
    })
    .await;
    http.get("/livez").await.expect(200);
    let refused = http.post_json("/v1/messages", &message(0)).await.expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

async fn goes_to_work(what: &str, agentbus: &Agentbus, since: Instant, nats: Option<&Nats>) {
    agentbus.wait_ready().await;
    eprintln!("{what}: ready {:.1?} after it was there", since.elapsed());
    let load = Load::start(&[agentbus.url()], 4, 2);
    load.acknowledged(100).await;
    verdict::check(what, load, &[agentbus.url()], nats).await;
}

#[tokio::test]
async fn without_nats() {
    let nats = Nats::start().await;
    let pg_url = Postgres::shared().await.database().await;
    nats.kill9();
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start_listening().await;
    waits_for(&agentbus, "NATS").await;
    nats.restart().await;
    goes_to_work("started without NATS", &agentbus, Instant::now(), Some(&nats)).await;
}

async fn without_postgres(nats: Option<&Nats>, what: &str) {
    let postgres = Postgres::start().await;
    let pg_url = postgres.database().await;
    postgres.kill9();
    let builder = match nats {
        Some(nats) => Agentbus::builder().nats(&nats.url(), &pg_url),
        None => Agentbus::builder().memory_postgres(&pg_url),
    };
    let agentbus = builder.start_listening().await;
    waits_for(&agentbus, "PostgreSQL").await;
    postgres.restart().await;
    goes_to_work(what, &agentbus, Instant::now(), nats).await;
}

#[tokio::test]
async fn without_postgres_on_nats() {
    let nats = Nats::start().await;
    without_postgres(Some(&nats), "started without PostgreSQL, on NATS").await;
}

#[tokio::test]
async fn without_postgres_on_the_memory_bus() {
    without_postgres(None, "started without PostgreSQL, on the memory bus").await;
}
