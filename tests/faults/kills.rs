//! Each part of the deployment is killed with SIGKILL under load, again and again.

use std::time::Duration;

use crate::load::Load;
use crate::support::times;
use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres, metrics};
use crate::verdict;

/// Acknowledgements between two faults.
const BETWEEN: u64 = 150;
/// Acknowledgements between two faults if the NATS server syncs each message: enough for many atomic batches.
pub const BETWEEN_BATCHES: u64 = 5_000;

/// Prints the median and the longest of some recoveries.
fn tell(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let longest = took.last().copied().unwrap_or_default();
    eprintln!(
        "{what}: {} times, to the next acknowledgement {median:.1?} (longest {longest:.1?})",
        took.len()
    );
}

#[tokio::test]
async fn nats_server() {
    let deployment = Deployment::start(Mode::Nats).await;
    let nats = deployment.nats().expect("on NATS");
    let load = Load::start(&[deployment.bus()], 8, 3);
    let mut took = Vec::new();
    for _ in 0..times(4, 50) {
        load.acknowledged(BETWEEN).await;
        nats.kill9();
        nats.restart().await;
        took.push(load.acknowledged(1).await);
    }
    tell("nats-server killed", took);
    verdict::check("nats-server killed", load, &[deployment.bus()], Some(nats)).await;
}

#[tokio::test]
async fn nats_server_that_syncs_each_message() {
    let nats = Nats::builder().sync_interval("always").start().await;
    let pg_url = Postgres::shared().await.database().await;
    let agentbus = Agentbus::builder()
        .nats(&nats.url(), &pg_url)
        .env("NATS_SYNC_ALWAYS", "true")
        .start()
        .await;
    let load = Load::start(&[agentbus.url()], 80, 2);
    let (mut took, mut batches) = (Vec::new(), 0.0);
    for _ in 0..times(4, 20) {
        load.acknowledged(BETWEEN_BATCHES).await;
        nats.kill9();
        nats.restart().await;
        took.push(load.acknowledged(1).await);
        batches = metrics::value(&agentbus.http(), metrics::BATCHES_STORED).await;
    }
    tell("nats-server killed that syncs each message", took);
    eprintln!("{batches} atomic batches");
    assert!(batches > 0.0, "no atomic batch was used");
    verdict::check(
        "nats-server killed that syncs each message",
        load,
        &[agentbus.url()],
        Some(&nats),
    )
    .await;
}

#[tokio::test]
async fn agentbus_servers_in_turn() {
    let nats = Nats::start().await;
    let pg_url = Postgres::shared().await.database().await;
    let first = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let second = first.like().start().await;
    let servers = [first.url(), second.url()];
    let load = Load::start(&servers, 8, 3);
    let mut took = Vec::new();
    for number in 0..times(6, 50) {
        load.acknowledged(BETWEEN).await;
        let server = [&first, &second][number % 2];
        server.kill9();
        took.push(load.acknowledged(1).await);
        server.restart_listening().await;
        server.wait_ready().await;
    }
    tell("agentbus killed, one of two", took);
    verdict::check("agentbus killed, one of two", load, &servers, Some(&nats)).await;
}

async fn alone(mode: Mode, what: &str) {
    let deployment = Deployment::start(mode).await;
    let load = Load::start(&[deployment.bus()], 8, 3);
    let mut took = Vec::new();
    for _ in 0..times(4, 50) {
        load.acknowledged(BETWEEN).await;
        deployment.agentbus().kill9();
        deployment.agentbus().restart_listening().await;
        took.push(load.acknowledged(1).await);
    }
    tell(what, took);
    verdict::check(what, load, &[deployment.bus()], deployment.nats()).await;
}

#[tokio::test]
async fn agentbus_alone_on_sqlite() {
    alone(Mode::MemorySqlite, "agentbus killed, alone on SQLite").await;
}

#[tokio::test]
async fn agentbus_alone_on_postgres() {
    alone(Mode::MemoryPostgres, "agentbus killed, alone on PostgreSQL").await;
}

async fn postgres(on_nats: bool, what: &str) {
    let postgres = Postgres::start().await;
    let pg_url = postgres.database().await;
    let nats = if on_nats { Some(Nats::start().await) } else { None };
    let agentbus = match &nats {
        Some(nats) => Agentbus::builder().nats(&nats.url(), &pg_url).start().await,
        None => Agentbus::builder().memory_postgres(&pg_url).start().await,
    };
    let load = Load::start(&[agentbus.url()], 6, 2);
    let mut took = Vec::new();
    for _ in 0..times(3, 20) {
        load.acknowledged(BETWEEN).await;
        postgres.kill9();
        if on_nats {
            // Publishing continues while it is down.
            took.push(load.acknowledged(BETWEEN).await);
        }
        postgres.restart().await;
        if !on_nats {
            took.push(load.acknowledged(1).await);
        }
    }
    tell(what, took);
    verdict::check(what, load, &[agentbus.url()], nats.as_ref()).await;
}

#[tokio::test]
async fn postgres_behind_nats() {
    postgres(true, "PostgreSQL killed behind NATS").await;
}

#[tokio::test]
async fn postgres_behind_the_memory_bus() {
    postgres(false, "PostgreSQL killed behind the memory bus").await;
}
