//! The JetStream consumers of agentbus's readers are deleted, also before their first message. There must be
//! no gap, no duplicate, and no reader that waits for ever.

use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;

use crate::load::{Load, PATIENCE};
use crate::support::times;
use crate::support::{Deployment, Mode, Nats, eventually};
use crate::verdict;

/// How many reader consumers one server has in JetStream: one, the broadcaster's. The projector reads the ring and
/// creates a consumer only for messages that the ring no longer has.
const READERS: usize = 1;

async fn stream(nats: &Nats) -> Stream {
    nats.jetstream().await.get_stream("agent-messages").await.expect("the stream")
}

/// Waits until the readers' consumers exist, and deletes them; returns how many there were.
async fn delete_readers(stream: &Stream) -> usize {
    let names = eventually(PATIENCE, "the readers have consumers", async || {
        let all: Vec<_> = stream.consumer_names().collect().await;
        let names: Vec<String> = all.into_iter().filter_map(Result::ok).collect();
        let names: Vec<_> = names.into_iter().filter(|name| name != "agent-processor").collect();
        (names.len() >= READERS).then_some(names)
    })
    .await;
    for name in &names {
        stream.delete_consumer(name).await.expect("deleted");
    }
    names.len()
}

#[tokio::test]
async fn deleted_before_their_first_message() {
    for _ in 0..times(2, 20) {
        let deployment = Deployment::start(Mode::Nats).await;
        let nats = deployment.nats().expect("on NATS");
        let deleted = delete_readers(&stream(nats).await).await;
        let load = Load::start(&[deployment.bus()], 4, 2);
        let took = load.acknowledged(200).await;
        eprintln!("{deleted} consumers deleted before their first message: 200 acks in {took:.1?}");
        verdict::check("consumers deleted at first", load, &[deployment.bus()], Some(nats)).await;
    }
}

#[tokio::test]
async fn deleted_under_load() {
    let deployment = Deployment::start(Mode::Nats).await;
    let nats = deployment.nats().expect("on NATS");
    let stream = stream(nats).await;
    let load = Load::start(&[deployment.bus()], 6, 3);
    let mut deleted = 0;
    for _ in 0..times(10, 100) {
        load.acknowledged(100).await;
        deleted += delete_readers(&stream).await;
    }
    load.acknowledged(100).await;
    eprintln!("{deleted} consumers deleted under load");
    verdict::check("consumers deleted", load, &[deployment.bus()], Some(nats)).await;
}
