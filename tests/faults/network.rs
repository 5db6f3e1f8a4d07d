//! Half-open, slow and cut connections between agentbus, NATS and PostgreSQL.

use std::time::Duration;

use tokio::time::sleep;

use crate::load::Load;
use crate::support::proxy::Proxy;
use crate::support::times;
use crate::support::{Agentbus, Nats, Postgres};
use crate::verdict;

/// In seconds: longer than the client's pings need to detect a dead peer (15 s).
const HALF_OPEN: usize = 20;
const SHORT_HALF_OPEN: usize = 7;
/// Delay of each piece of data, one way: some hundred times that of the loopback.
const SLOW: Duration = Duration::from_millis(30);

fn port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').expect("a port");
    rest.split('/').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// One server whose connections to NATS and PostgreSQL go through proxies.
struct Disturbed {
    agentbus: Agentbus,
    to_nats: Proxy,
    to_postgres: Proxy,
    nats: Nats,
}

async fn disturbed() -> Disturbed {
    let nats = Nats::start().await;
    let pg_url = Postgres::shared().await.database().await;
    let (to_nats, to_postgres) =
        (Proxy::to(port(&nats.url())).await, Proxy::to(port(&pg_url)).await);
    let pg_url = pg_url.replace(&port(&pg_url).to_string(), &to_postgres.port().to_string());
    let nats_url = format!("nats://127.0.0.1:{}", to_nats.port());
    let agentbus = Agentbus::builder().nats(&nats_url, &pg_url).start().await;
    Disturbed { agentbus, to_nats, to_postgres, nats }
}

#[tokio::test]
async fn half_open_to_nats() {
    let d = disturbed().await;
    let load = Load::start(&[d.agentbus.url()], 6, 3);
    load.acknowledged(200).await;
    d.to_nats.block();
    sleep(Duration::from_secs(times(SHORT_HALF_OPEN, HALF_OPEN) as u64)).await;
    // The client reconnects, so the old connection never delivers what was buffered on it.
    d.to_nats.cut();
    d.to_nats.open();
    let took = load.acknowledged(1).await;
    eprintln!("half-open to NATS: {took:.1?} to the next acknowledgement");
    load.acknowledged(200).await;
    verdict::check("half-open to NATS", load, &[d.agentbus.url()], Some(&d.nats)).await;
}

#[tokio::test]
async fn cut_to_nats_again_and_again() {
    let d = disturbed().await;
    let load = Load::start(&[d.agentbus.url()], 6, 3);
    for _ in 0..times(10, 100) {
        load.acknowledged(100).await;
        d.to_nats.cut();
    }
    load.acknowledged(100).await;
    verdict::check("cut to NATS", load, &[d.agentbus.url()], Some(&d.nats)).await;
}

#[tokio::test]
async fn half_open_cut_and_slow_to_postgres() {
    let d = disturbed().await;
    let load = Load::start(&[d.agentbus.url()], 6, 3);
    load.acknowledged(200).await;
    d.to_postgres.block();
    let took = load.acknowledged(200).await;
    eprintln!("half-open to PostgreSQL: 200 more acknowledged in {took:.1?}");
    sleep(Duration::from_secs(SHORT_HALF_OPEN as u64)).await;
    d.to_postgres.cut();
    d.to_postgres.open();
    for _ in 0..times(5, 50) {
        load.acknowledged(200).await;
        d.to_postgres.cut();
    }
    d.to_postgres.slow(SLOW);
    let took = load.acknowledged(200).await;
    eprintln!("slow to PostgreSQL: 200 more acknowledged in {took:.1?}");
    d.to_postgres.open();
    load.acknowledged(50).await;
    verdict::check("PostgreSQL disturbed", load, &[d.agentbus.url()], Some(&d.nats)).await;
}
