//! NATS with `sync_interval: always`, and many clients at once: their messages share atomic batches, and each
//! client gets the sequence of its own message.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::records::history;
use crate::support::wire::{JSON, MESSAGES};
use crate::support::{Agentbus, Http, Nats, Postgres, eventually, metrics};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CLIENTS: usize = 150;
/// How many messages each client sends: enough for many batches.
const MESSAGES_EACH: usize = 100;
const BATCHES: f64 = 20.0;
const PATIENCE: Duration = Duration::from_secs(120);

/// What a client received: the sequence and the content of each id.
type Received = HashMap<Uuid, (u64, String)>;

async fn post(http: &Http, id: Uuid, content: &str) -> (u16, u64) {
    let message = json!({
        "id": id, "kind": "task", "type": "step", "sender_id": "a", "task_id": "t", "content": content,
    });
    let answer = http.post(MESSAGES, JSON, message.to_string()).await;
    let seq = answer.json()["seq"].as_u64();
    (answer.status, seq.unwrap_or_else(|| panic!("{}", answer.text())))
}

/// Posts until stopped, at least `MESSAGES_EACH` messages. Some are sent twice at the same time, some again
/// later.
async fn client(http: Http, number: usize, stop: CancellationToken) -> Received {
    let mut received = Received::new();
    let mut count = 0;
    while count < MESSAGES_EACH || !stop.is_cancelled() {
        let (id, content) = (Uuid::now_v7(), format!("{number}/{count}"));
        let copies = if count % 20 == 7 { 2 } else { 1 };
        let answers = join_all((0..copies).map(|_| post(&http, id, &content))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201][2 - copies..], "{id} {content}");
        assert!(answers.iter().all(|(_, seq)| *seq == answers[0].1), "{id}: {answers:?}");
        received.insert(id, (answers[0].1, content));
        if count % 20 == 13 {
            let again = received.iter().next().expect("one");
            let (status, seq) = post(&http, *again.0, &again.1.1).await;
            assert_eq!((status, seq), (200, again.1.0), "{}", again.0);
        }
        count += 1;
    }
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_batches_and_each_gets_its_own_sequence() {
    let nats = Nats::builder().sync_interval("always").start().await;
    let pg_url = Postgres::shared().await.database().await;
    let server = Agentbus::builder()
        .nats(&nats.url(), &pg_url)
        .env("NATS_SYNC_ALWAYS", "true")
        .start()
        .await;
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(server.http(), number, stop.clone()));
    }
    eventually(PATIENCE, "atomic batches are used", async || {
        (metrics::value(&server.http(), metrics::BATCHES_STORED).await >= BATCHES).then_some(())
    })
    .await;
    stop.cancel();
    let mut received = Received::new();
    while let Some(some) = clients.join_next().await {
        received.extend(some.expect("a client ends"));
    }
    let last = received.values().map(|(seq, _)| *seq).max().expect("some");
    eventually(PATIENCE, "the store has everything", async || {
        let page = server.http().get("/v1/messages?limit=1&order=desc").await.json();
        (page["committed_through"].as_u64()? >= last).then_some(())
    })
    .await;
    let stored = history(&server.http(), "").await;
    assert_eq!(stored.len(), received.len(), "each once, and nothing else");
    for line in &stored {
        let message: Value = line.json();
        let id: Uuid = message["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let (seq, content) = &received[&id];
        assert_eq!((line.seq, message["content"].as_str()), (*seq, Some(content.as_str())), "{id}");
    }
    let batched = metrics::value(&server.http(), metrics::BATCHED).await;
    eprintln!("{} messages, {batched} of them in atomic batches", received.len());
}
