//! The clocks of agentbus and of the database jump by days, by libfaketime. nats-server is linked statically,
//! so its clock cannot be faked; `docs/reliability.md` says what happens if it jumps.

use crate::load::Load;
use crate::support::clock::Clock;
use crate::support::streams::message;
use crate::support::times;
use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres};
use crate::verdict;

/// Offsets of the clock: beyond the stream's `max_age` of 7 days, before the start, and in between.
const JUMPS: [&str; 4] = ["+8d", "-1d", "+1h", "+0"];
const BETWEEN: u64 = 150;

async fn ours_jumps(mode: Mode) {
    let clock = Clock::new();
    let deployment = Deployment::tuned(mode, |builder| clock.seen_by(builder)).await;
    let what = format!("{mode:?}: the clock of agentbus jumps");
    let load = Load::start(&[deployment.bus()], 6, 3);
    for _ in 0..times(1, 10) {
        for offset in JUMPS {
            load.acknowledged(BETWEEN).await;
            clock.set(offset);
            let took = load.acknowledged(1).await;
            eprintln!("{what} to {offset}: {took:.1?} to the next acknowledgement");
            load.acknowledged(BETWEEN).await;
            // The restarted server has never seen the old time.
            deployment.agentbus().kill9();
            deployment.agentbus().restart().await;
        }
    }
    verdict::check(&what, load, &[deployment.bus()], deployment.nats()).await;
}

#[tokio::test]
async fn the_clock_of_agentbus_jumps_on_nats() {
    ours_jumps(Mode::Nats).await;
}

#[tokio::test]
async fn the_clock_of_agentbus_jumps_on_sqlite() {
    ours_jumps(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn the_clock_of_postgres_jumps_and_the_projector_is_killed() {
    let (nats, clock) = (Nats::start().await, Clock::new());
    let env = clock.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let postgres = Postgres::start_with(&env).await;
    let pg_url = postgres.database().await;
    let first = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let second = first.like().start().await;
    let servers = [first.url(), second.url()];
    let load = Load::start(&servers, 6, 3);
    for round in 0..times(1, 5) {
        for (turn, offset) in JUMPS.into_iter().enumerate() {
            load.acknowledged(BETWEEN).await;
            clock.set(offset);
            // The projector's lease of the killed server lasts until a time that may be days
            // away.
            let killed = [&first, &second][(round + turn) % 2];
            killed.kill9();
            let took = load.acknowledged(BETWEEN).await;
            eprintln!("PostgreSQL's clock jumps to {offset}: {BETWEEN} acknowledged in {took:.1?}");
            let other = [&first, &second][(round + turn + 1) % 2];
            let (http, one) = (other.http(), message(turn));
            let answer = http.post_json("/v1/messages?ack=committed", &one).await.json();
            assert_eq!(answer["durability"], "committed", "another server projects: {answer}");
            killed.restart().await;
        }
    }
    verdict::check("PostgreSQL's clock jumps", load, &servers, Some(&nats)).await;
}
