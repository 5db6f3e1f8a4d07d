//! The NATS bus on real servers, which each test starts and ends.
//!
//! They need `NATS_SERVER_BIN`. Without it, they print that and pass.

mod batches;
mod durable;
mod faults;
mod foreign;
mod plain;
mod server;
mod write_back;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{NatsBus, NatsConfig};
use crate::bus::{Bus as _, Reader};
use crate::message::{Draft, LogEntry, Outgoing};
use server::Server;

/// Time limit for whatever a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, or `None` with a note when there is no binary.
macro_rules! server_or_return {
    () => {
        match super::server::Server::start().await {
            Some(server) => server,
            None => return,
        }
    };
}
use server_or_return;

fn config(server: &Server) -> NatsConfig {
    NatsConfig::new(&server.url())
}

async fn bus(server: &Server) -> NatsBus {
    NatsBus::connect(config(server)).await.expect("connects")
}

/// A bus with `NATS_SYNC_ALWAYS=true`.
async fn batching_bus(server: &Server) -> NatsBus {
    let config = NatsConfig { sync_always: true, ..config(server) };
    NatsBus::connect(config).await.expect("connects")
}

fn message(content: &str) -> Outgoing {
    let json = serde_json::json!({
        "kind": "task", "type": "step", "task_id": "t1", "sender_id": "a1", "content": content
    });
    let draft = Draft::parse(json.to_string().as_bytes()).expect("valid");
    Outgoing::encode(&draft, Uuid::now_v7(), crate::clock::Clock::system().now())
}

fn with_new_id(message: &Outgoing) -> Outgoing {
    Outgoing { id: Uuid::now_v7(), ..message.clone() }
}

fn messages(count: usize) -> Vec<Outgoing> {
    (0..count).map(|number| message(&number.to_string())).collect()
}

async fn publish_one(
    bus: &NatsBus,
    message: Outgoing,
) -> Result<crate::bus::Ack, crate::bus::PublishError> {
    bus.publish(vec![message]).await.remove(0)
}

/// Publishes, and retries until the bus acknowledges the message.
async fn publish_surely(bus: &NatsBus, message: &Outgoing) -> crate::bus::Ack {
    within("a publish succeeds", async {
        loop {
            if let Ok(ack) = publish_one(bus, message.clone()).await {
                return ack;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Reads until the entry with sequence `last` has come.
async fn read_through(reader: &mut dyn Reader, last: u64) -> Vec<LogEntry> {
    let mut all: Vec<LogEntry> = Vec::new();
    within("the reader reads on", async {
        while all.last().is_none_or(|entry| entry.seq < last) {
            let batch = reader.next().await.expect("reads");
            assert!(!batch.is_empty());
            all.extend(batch);
        }
    })
    .await;
    all
}

fn seqs(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

/// The sequences of each message id in the stream.
async fn by_id(bus: &NatsBus) -> HashMap<String, Vec<u64>> {
    assert!(bus.requester.connection.is_up_again().await, "a reconnect in progress has ended");
    let last = bus.identity().await.expect("identity").bounds.last;
    let mut reader = bus.reader(1).await.expect("reader");
    let mut ids: HashMap<String, Vec<u64>> = HashMap::new();
    for entry in read_through(&mut *reader, last).await {
        let id = entry.header("Nats-Msg-Id").expect("has an id").to_owned();
        ids.entry(id).or_default().push(entry.seq);
    }
    ids
}

fn payload(entry: &LogEntry) -> Bytes {
    entry.payload.clone()
}
