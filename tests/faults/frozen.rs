//! Processes are frozen (SIGSTOP) and continue later: work that they had begun must then do no harm.

use std::time::Duration;

use tokio::time::sleep;

use crate::load::Load;
use crate::support::times;
use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres};
use crate::verdict;

/// Longer than a projector's lease (3 s) and the wait between two polls of a standby, so another server
/// projects by then.
const PAST_LEASE: Duration = Duration::from_secs(6);
/// In seconds: longer than the time-outs of pings, acks and the breaker.
const LONG_FREEZE: u64 = 40;
const SHORT_FREEZE: u64 = 8;

#[tokio::test]
async fn nats_server() {
    let deployment = Deployment::start(Mode::Nats).await;
    let nats = deployment.nats().expect("on NATS");
    let load = Load::start(&[deployment.bus()], 8, 3);
    load.acknowledged(200).await;
    nats.pause();
    // This is how long the fault lasts, not a wait for something.
    sleep(Duration::from_secs(times(SHORT_FREEZE as usize, LONG_FREEZE as usize) as u64)).await;
    nats.resume();
    let took = load.acknowledged(1).await;
    eprintln!("nats-server frozen: {took:.1?} to the next acknowledgement");
    load.acknowledged(200).await;
    verdict::check("nats-server frozen", load, &[deployment.bus()], Some(nats)).await;
}

#[tokio::test]
async fn the_active_projector_past_its_lease() {
    let nats = Nats::start().await;
    let pg_url = Postgres::shared().await.database().await;
    let first = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let second = first.like().start().await;
    let servers = [first.url(), second.url()];
    for _ in 0..times(1, 5) {
        let load = Load::start(&servers, 6, 0);
        let watching = Load::start(&[second.url()], 2, 3);
        load.acknowledged(200).await;
        // Either server may be the projector, so both are frozen in turn.
        for (frozen, other) in [(&first, &second), (&second, &first)] {
            frozen.pause();
            sleep(PAST_LEASE).await;
            frozen.resume();
            other.wait_ready().await;
            load.acknowledged(50).await;
        }
        let observed = load.end().await;
        assert!(!observed.acked.is_empty());
        verdict::check("projector frozen past its lease", watching, &servers, Some(&nats)).await;
    }
}

#[tokio::test]
async fn postgres() {
    let postgres = Postgres::start().await;
    let pg_url = postgres.database().await;
    let nats = Nats::start().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let load = Load::start(&[agentbus.url()], 6, 2);
    load.acknowledged(200).await;
    postgres.pause();
    let took = load.acknowledged(200).await;
    eprintln!("PostgreSQL frozen: 200 more acknowledged in {took:.1?}");
    sleep(PAST_LEASE).await;
    postgres.resume();
    load.acknowledged(50).await;
    verdict::check("PostgreSQL frozen", load, &[agentbus.url()], Some(&nats)).await;
}
