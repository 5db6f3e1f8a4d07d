//! The bus is switched under load in both directions: three servers on NATS end one after the other, one on
//! the memory bus takes over on the same database, and the three come back. Clients only retry.

use crate::load::Load;
use crate::support::times;
use crate::support::{Agentbus, Nats, Postgres};
use crate::verdict;

const BETWEEN: u64 = 200;

async fn set(servers: &[Agentbus], bus: &str) {
    for server in servers {
        server.set_env("MESSAGE_BUS", bus);
    }
}

#[tokio::test]
async fn rolling_from_nats_to_memory_and_back() {
    let nats = Nats::start().await;
    let pg_url = Postgres::shared().await.database().await;
    let first = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let (second, third) = (first.like().start().await, first.like().start().await);
    let servers = [first, second, third];
    let urls: Vec<&str> = servers.iter().map(Agentbus::url).collect();
    let load = Load::start(&urls, 6, 3);
    for _ in 0..times(1, 5) {
        set(&servers, "memory").await;
        for server in &servers {
            load.acknowledged(BETWEEN).await;
            assert!(server.terminate().await.success());
        }
        servers[0].restart_listening().await;
        let took = load.acknowledged(1).await;
        eprintln!("NATS to memory: {took:.1?} from the start to the next acknowledgement");
        load.acknowledged(BETWEEN).await;
        set(&servers, "nats").await;
        assert!(servers[0].terminate().await.success());
        for server in &servers {
            server.restart_listening().await;
        }
        let took = load.acknowledged(1).await;
        eprintln!("memory to NATS: {took:.1?} from the start to the next acknowledgement");
        for server in &servers {
            server.wait_ready().await;
        }
    }
    load.acknowledged(BETWEEN).await;
    verdict::check("rolling switch of the bus", load, &urls, Some(&nats)).await;
}
