//! Three NATS nodes with three replicas and three agentbus servers on one PostgreSQL, while nodes are killed,
//! frozen, partitioned from the others, and restarted in turn.

use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::time::{Instant, sleep};

use crate::kills::BETWEEN_BATCHES;
use crate::load::{Load, PATIENCE};
use crate::support::proxy::Proxy;
use crate::support::streams::message;
use crate::support::times;
use crate::support::{Agentbus, Nats, Postgres, eventually, metrics, ports};
use crate::verdict;

const STREAM: &str = "agent-messages";
/// How long a node is frozen: long enough for an election, and for publishes to time out.
const CUT_OFF: Duration = Duration::from_secs(8);
/// So many writers that each server forms atomic batches.
const MANY: usize = 210;

struct Cluster {
    servers: [Agentbus; 3],
    nodes: Vec<Nats>,
    /// The proxies between nodes, by the indices of their ends. Empty if the nodes cannot be partitioned.
    ways: Vec<(usize, usize, Proxy)>,
}

impl Cluster {
    async fn start() -> Self {
        Self::of(Nats::cluster(3).await, Vec::new(), false).await
    }

    /// A cluster whose nodes can be partitioned from each other while their clients still reach them.
    async fn divisible() -> Self {
        let ports: Vec<u16> = (0..3).map(|_| ports::free()).collect();
        let (mut ways, mut routes) = (Vec::new(), vec![Vec::new(); 3]);
        for (from, routes) in routes.iter_mut().enumerate() {
            for to in (0..3).filter(|to| *to != from) {
                let way = Proxy::to(ports[to]).await;
                routes.push(way.port());
                ways.push((from, to, way));
            }
        }
        Self::of(Nats::builder().cluster_through(&ports, &routes).await, ways, false).await
    }

    async fn of(nodes: Vec<Nats>, ways: Vec<(usize, usize, Proxy)>, sync_always: bool) -> Self {
        let pg_url = Postgres::shared().await.database().await;
        let builder = Agentbus::builder().nats(&Nats::urls(&nodes), &pg_url);
        let builder = builder.env("NATS_SYNC_ALWAYS", &sync_always.to_string());
        let first = builder.env("NATS_REPLICAS", "3").start().await;
        let servers = [first.like().start().await, first.like().start().await];
        let [second, third] = servers;
        Self { servers: [first, second, third], nodes, ways }
    }

    fn urls(&self) -> Vec<&str> {
        self.servers.iter().map(Agentbus::url).collect()
    }

    async fn jetstream(&self) -> Context {
        async_nats::jetstream::new(Nats::client_of(&self.nodes).await)
    }

    /// Partitions this node from the others, or heals the partition.
    fn divide(&self, node: usize, divided: bool) {
        for (_, _, way) in self.ways.iter().filter(|(from, to, _)| [*from, *to].contains(&node)) {
            if divided { way.block() } else { way.open() }
        }
    }

    /// Fails the test unless every server publishes, whichever node it was connected to.
    async fn every_server_publishes(&self) {
        for (number, server) in self.servers.iter().enumerate() {
            let message = message(number);
            eventually(PATIENCE, "each server publishes again", async || {
                let answer = server.http().post_json("/v1/messages", &message).await;
                matches!(answer.status, 200 | 201).then_some(())
            })
            .await;
        }
    }

    /// The index of the node that leads the stream.
    async fn leading(&self) -> usize {
        let jetstream = self.jetstream().await;
        let name = eventually(PATIENCE, "the stream has a leader", async || {
            let asked = tokio::time::timeout(Duration::from_secs(1), jetstream.get_stream(STREAM));
            let stream = asked.await.ok()?.ok()?;
            stream.cached_info().cluster.as_ref()?.leader.clone()
        })
        .await;
        self.nodes.iter().position(|node| node.name() == name).expect("a node of ours")
    }

    async fn leader(&self) -> &Nats {
        &self.nodes[self.leading().await]
    }

    /// How many atomic batches all agentbus servers have stored.
    async fn batches(&self) -> f64 {
        let mut stored = 0.0;
        for server in &self.servers {
            stored += metrics::value(&server.http(), metrics::BATCHES_STORED).await;
        }
        stored
    }

    /// Waits until every copy of the stream is up to date.
    async fn healed(&self) {
        let jetstream = self.jetstream().await;
        eventually(PATIENCE, "all copies are current", async || {
            let asked = tokio::time::timeout(Duration::from_secs(1), jetstream.get_stream(STREAM));
            let stream = asked.await.ok()?.ok()?;
            let cluster = stream.cached_info().cluster.as_ref()?;
            let current = cluster.replicas.iter().filter(|replica| replica.current).count();
            (cluster.leader.is_some() && current == 2).then_some(())
        })
        .await;
    }

    async fn verdict(&self, what: &str, load: Load) {
        self.healed().await;
        verdict::check(what, load, &self.urls(), Some(self.leader().await)).await;
    }
}

#[tokio::test]
async fn the_leader_is_killed() {
    let cluster = Cluster::start().await;
    let load = Load::start(&cluster.urls(), 9, 3);
    for _ in 0..times(2, 20) {
        load.acknowledged(100).await;
        let leader = cluster.leader().await;
        leader.kill9();
        let took = load.acknowledged(1).await;
        eprintln!("leader killed: {took:.1?} to the next acknowledgement");
        load.acknowledged(50).await;
        leader.restart().await;
        cluster.healed().await;
    }
    cluster.verdict("leader killed", load).await;
}

#[tokio::test]
async fn the_leader_is_killed_where_each_message_is_synced() {
    let nodes = Nats::builder().sync_interval("always").cluster(3).await;
    let cluster = Cluster::of(nodes, Vec::new(), true).await;
    let load = Load::start(&cluster.urls(), MANY, 2);
    let mut batches = 0.0;
    for _ in 0..times(2, 10) {
        load.acknowledged(BETWEEN_BATCHES).await;
        batches = cluster.batches().await;
        let leader = cluster.leader().await;
        leader.kill9();
        let took = load.acknowledged(1).await;
        eprintln!("leader that syncs each message killed: {took:.1?} to the next acknowledgement");
        load.acknowledged(BETWEEN_BATCHES).await;
        leader.restart().await;
        cluster.healed().await;
    }
    eprintln!("{batches} atomic batches");
    assert!(batches > 0.0, "no atomic batch was used");
    cluster.verdict("leader killed that syncs each message", load).await;
}

#[tokio::test]
async fn the_leader_is_frozen_and_rejoins() {
    let cluster = Cluster::start().await;
    let load = Load::start(&cluster.urls(), 9, 3);
    for _ in 0..times(1, 10) {
        load.acknowledged(100).await;
        let leader = cluster.leader().await;
        leader.pause();
        sleep(CUT_OFF).await;
        let took = load.acknowledged(1).await;
        eprintln!("leader cut off: {took:.1?} to an acknowledgement after {CUT_OFF:?}");
        leader.resume();
        load.acknowledged(50).await;
        cluster.healed().await;
    }
    cluster.verdict("leader cut off", load).await;
}

#[tokio::test]
async fn the_leader_is_partitioned_and_rejoins() {
    let cluster = Cluster::divisible().await;
    let load = Load::start(&cluster.urls(), 9, 3);
    for _ in 0..times(1, 10) {
        load.acknowledged(100).await;
        let leader = cluster.leading().await;
        cluster.divide(leader, true);
        let took = load.acknowledged(1).await;
        eprintln!("leader divided from the others: {took:.1?} to the next acknowledgement");
        let start = Instant::now();
        cluster.every_server_publishes().await;
        eprintln!("leader divided from the others: {:.1?} to all servers", start.elapsed());
        load.acknowledged(100).await;
        cluster.divide(leader, false);
        cluster.healed().await;
    }
    load.acknowledged(100).await;
    cluster.verdict("leader divided from the others", load).await;
}

#[tokio::test]
async fn the_nodes_are_restarted_one_after_the_other() {
    let cluster = Cluster::start().await;
    let load = Load::start(&cluster.urls(), 9, 3);
    for _ in 0..times(1, 5) {
        for node in &cluster.nodes {
            load.acknowledged(50).await;
            node.restart().await;
            cluster.healed().await;
        }
    }
    load.acknowledged(50).await;
    cluster.verdict("rolling restart", load).await;
}
