//! Agents at a leaf node without JetStream, while its link to the hub is away: over NATS, and over HTTP to a
//! server beside the leaf node. They only repeat, under the same ids, and each message is in the log once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::load::{Load, PATIENCE};
use crate::support::proxy::Proxy;
use crate::support::records::history;
use crate::support::streams::message;
use crate::support::{Agentbus, Http, Nats, Postgres, eventually, ports, times, wire};
use crate::verdict;

/// How long an agent waits for an acknowledgement before it repeats the message.
const ACK: Duration = Duration::from_millis(500);
/// How long it waits between attempts.
const RETRY: Duration = Duration::from_millis(20);
/// How many publishes must fail before the link comes back.
const FAILED: u64 = 5;

/// An agent that publishes over NATS, each message until it is acknowledged.
async fn agent(
    nats: async_nats::Client,
    failed: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Vec<(Uuid, u64)> {
    let mut acked = Vec::new();
    while !stop.is_cancelled() {
        let id = Uuid::now_v7();
        let deadline = Instant::now() + PATIENCE;
        let seq = loop {
            if let Some(seq) = publish(&nats, id).await {
                break seq;
            }
            failed.fetch_add(1, Ordering::Relaxed);
            assert!(Instant::now() < deadline, "an agent at the leaf node is stuck");
            sleep(RETRY).await;
        };
        acked.push((id, seq));
    }
    acked
}

/// Publishes a message once; returns its sequence if it was acknowledged.
async fn publish(nats: &async_nats::Client, id: Uuid) -> Option<u64> {
    let message =
        json!({"kind": "task", "type": "step", "sender_id": "leaf", "task_id": "t", "id": id});
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.to_string());
    let subject = "agent.task.t.step".to_owned();
    let asked = nats.request_with_headers(subject, headers, message.to_string().into());
    let ack = timeout(ACK, asked).await.ok()?.ok()?;
    serde_json::from_slice::<Value>(&ack.payload).expect("JSON")["seq"].as_u64()
}

/// Waits until agents and server at the leaf node notice that the link is away.
async fn noticed(http: &Http, failed: &AtomicU64) {
    let before = failed.load(Ordering::Relaxed);
    eventually(PATIENCE, "publishes fail at the leaf node", async || {
        (failed.load(Ordering::Relaxed) >= before + FAILED).then_some(())
    })
    .await;
    eventually(PATIENCE, "the server at the leaf node refuses", async || {
        (http.post_json("/v1/messages", &message(0)).await.status == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn agents_at_a_leaf_node_publish_through_an_outage_of_its_link() {
    let port = ports::free();
    // Advertised, the leaf node would come back around the proxy.
    let hub_config =
        format!("leafnodes {{ host: \"127.0.0.1\", port: {port}, no_advertise: true }}");
    let hub = Nats::builder().domain("hub").config(&hub_config).start().await;
    let link = Proxy::to(port).await;
    let leaf_config = format!(
        "leafnodes {{ reconnect: \"1s\", remotes: [ {{ url: \"nats://127.0.0.1:{}\" }} ] }}\n\
         default_js_domain: {{ \"$G\": hub }}",
        link.port()
    );
    let leaf = Nats::builder().without_jetstream().config(&leaf_config).start().await;
    let pg_url = Postgres::shared().await.database().await;
    let central = Agentbus::builder().nats(&hub.url(), &pg_url).start().await;
    let remote = Agentbus::builder().nats(&leaf.url(), &pg_url).start().await;
    let load = Load::start(&[remote.url()], 4, 2);
    let (failed, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let agents: Vec<_> = futures_util::future::join_all((0..3).map(|_| leaf.client()))
        .await
        .into_iter()
        .map(|client| tokio::spawn(agent(client, failed.clone(), stop.clone())))
        .collect();
    for _ in 0..times(1, 5) {
        load.acknowledged(100).await;
        // The link hangs, then it breaks, then it is back.
        link.block();
        noticed(&remote.http(), &failed).await;
        link.cut();
        noticed(&remote.http(), &failed).await;
        link.open();
        let took = load.acknowledged(1).await;
        eprintln!("link of the leaf node back: {took:.1?} to the next acknowledgement over HTTP");
    }
    load.acknowledged(100).await;
    stop.cancel();
    let mut acked = Vec::new();
    for agent in agents {
        acked.extend(agent.await.expect("an agent ends"));
    }
    let last = acked.iter().map(|(_, seq)| *seq).max().expect("some");
    wire::committed_at_last(&central.http(), last).await;
    let mut stored: HashMap<Uuid, Vec<u64>> = HashMap::new();
    for line in history(&central.http(), "sender=leaf").await {
        let id: Uuid = line.json()["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        stored.entry(id).or_default().push(line.seq);
    }
    for (id, seq) in &acked {
        assert_eq!(stored.get(id), Some(&vec![*seq]), "{id}");
    }
    eprintln!(
        "leaf node: {} acknowledged over NATS, each in the log once; {} attempts without an acknowledgement",
        acked.len(),
        failed.load(Ordering::Relaxed)
    );
    verdict::check("leaf node", load, &[central.url(), remote.url()], Some(&hub)).await;
}
