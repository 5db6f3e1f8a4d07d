//! Queues, leases, dead letters and webhooks within grants.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::keys::{Keyed, Secured};
use crate::support::receiver::{Receiver, seqs};
use crate::support::{Http, Mode, eventually};

const SOON: Duration = Duration::from_secs(20);

async fn enqueue(http: &Http, queue: &str) {
    let job = json!({"type": "build", "payload": 1});
    http.post_json(&format!("/v1/queues/{queue}/jobs"), &job).await.expect(201);
}

/// Leases one job; returns its token.
async fn lease(key: &Keyed, body: Value) -> String {
    let leased = key.http.post_json("/v1/queues/builds/lease", &body).await.expect(200).json();
    leased["jobs"][0]["lease_token"].as_str().expect("a token").to_owned()
}

async fn settle(http: &Http, token: &str, action: &str) -> u16 {
    http.post_json(&format!("/v1/leases/{token}/{action}"), &json!({})).await.status
}

async fn a_lease_is_ended_by_its_key_or_one_that_can_process(mode: Mode) {
    let secured = Secured::start(mode).await;
    let worker = json!({"work": ["builds"], "enqueue": ["builds"]});
    let (ours, theirs) = (secured.key(worker.clone()).await, secured.key(worker).await);
    let named = secured.key(json!({"work": ["builds"], "as": ["ann"]})).await;
    let operator = secured.key(json!({"can": ["process"]})).await;
    for _ in 0..4 {
        enqueue(&ours.http, "builds").await;
    }
    let wait = json!({"wait_s": 20});
    let token = lease(&ours, wait.clone()).await;
    for action in ["ack", "nack", "extend", "fail"] {
        assert_eq!(settle(&theirs.http, &token, action).await, 403, "{action}");
    }
    let path = format!("/v1/leases/{token}/extend");
    let extended = ours.http.post_json(&path, &json!({})).await.expect(200).json();
    let extended = extended["lease_token"].as_str().expect("a token").to_owned();
    assert_eq!(settle(&theirs.http, &extended, "ack").await, 403);
    let batch = json!([{"lease_token": extended, "action": "ack"}]);
    let batch = theirs.http.post_json("/v1/leases/settle", &batch).await.expect(200).json();
    assert_eq!(batch["results"][0]["status"], 403, "{batch}");
    assert_eq!(settle(&ours.http, &extended, "ack").await, 200);
    let token = lease(&ours, json!({"wait_s": 20, "worker": ours.id})).await;
    assert_eq!(settle(&operator.http, &token, "ack").await, 200);
    // `worker` must be in `as`; with one name it is that name.
    let token = lease(&named, json!({"wait_s": 20, "worker": "ann"})).await;
    assert_eq!(settle(&named.http, &token, "ack").await, 200);
    for wrong in [json!({"worker": "bob"}), json!({"worker": ours.id})] {
        let refused = named.http.post_json("/v1/queues/builds/lease", &wrong).await;
        assert_eq!(
            refused.expect(403).json()["needs"],
            format!("as {}", wrong["worker"].as_str().expect("a name"))
        );
    }
    let queues = ours.http.get("/v1/queues").await.expect(200).json();
    assert_eq!(queues["queues"].as_array().map(Vec::len), Some(1), "{queues}");
    enqueue(&secured.root, "others").await;
    let queues = ours.http.get("/v1/queues").await.expect(200).json();
    assert_eq!(queues["queues"].as_array().map(Vec::len), Some(1), "{queues}");
}

#[tokio::test]
async fn a_lease_belongs_to_its_key_memory_sqlite() {
    a_lease_is_ended_by_its_key_or_one_that_can_process(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn a_lease_belongs_to_its_key_nats() {
    a_lease_is_ended_by_its_key_or_one_that_can_process(Mode::Nats).await;
}

#[tokio::test]
async fn a_webhook_delivers_what_its_maker_may_read_while_the_key_lives() {
    let secured = Secured::tuned(Mode::MemorySqlite, &[("WEBHOOK_ALLOW_PRIVATE", "true")]).await;
    let maker = secured.key(json!({"can": ["webhooks"], "read": ["agent.task.t1.>"]})).await;
    let receiver = Receiver::start().await;
    let made = maker.http.post_json("/v1/webhooks", &json!({"url": receiver.url()})).await;
    let path = format!("/v1/webhooks/{}", made.expect(201).json()["id"].as_str().expect("an id"));
    let post = async |task: &str| {
        let message = json!({"kind": "task", "type": "note", "sender_id": "bob", "task_id": task});
        secured.root.post_json("/v1/messages", &message).await.expect(201).seq()
    };
    let (_, first, _, second) =
        (post("t2").await, post("t1").await, post("t2").await, post("t1").await);
    let delivered = async |wanted: &[u64]| {
        eventually(SOON, "the deliveries", async || {
            (seqs(&receiver.got()).len() >= wanted.len()).then_some(())
        })
        .await;
        let mut got: Vec<u64> = seqs(&receiver.got()).into_iter().collect();
        got.sort_unstable();
        assert_eq!(got, wanted);
    };
    delivered(&[first, second]).await;
    secured.revoke(&maker.id).await;
    let paused = eventually(SOON, "the webhook pauses", async || {
        let shown = secured.root.get(&path).await.expect(200).json();
        (shown["state"] == "paused").then_some(shown)
    })
    .await;
    assert!(paused["reason"].as_str().is_some_and(|reason| reason.contains("revoked")), "{paused}");
    post("t1").await;
    delivered(&[first, second]).await;
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let operator = secured.make(json!({"name": "op", "grants": {"can": ["process"]}})).await;
    operator.http.put_json("/v1/queues/q", &json!({})).await.expect(201);
    operator.http.post_json("/v1/consumers/agent-processor/pause", &json!({})).await.expect(200);
    operator.http.delete("/v1/queues/q").await.expect(204);
    operator.http.get("/v1/audit").await.expect(403);
    let wanted = [
        ("root", "key.create", "done"),
        ("op", "queue.put", "done"),
        ("op", "consumer.pause", "done"),
        ("op", "queue.delete", "done"),
        ("op", "/v1/audit", "denied"),
    ];
    let entries = eventually(SOON, "the denial is recorded", async || {
        let page = secured.root.get("/v1/audit").await.expect(200).json();
        let entries = page["entries"].as_array().expect("entries").clone();
        (entries.len() >= wanted.len()).then_some(entries)
    })
    .await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<[String; 3]> = entries
        .iter()
        .map(|entry| [&entry["actor"]["name"], &entry["action"], &entry["outcome"]].map(text))
        .collect();
    let wanted = wanted.map(|(who, what, outcome)| [who, what, outcome].map(str::to_owned));
    assert_eq!(found, wanted);
    let page = secured.root.get("/v1/audit?limit=2").await.expect(200).json();
    let next = page["next"].as_u64().expect("more");
    let rest = secured.root.get(&format!("/v1/audit?after={next}")).await.expect(200).json();
    assert_eq!(rest["entries"].as_array().map(Vec::len), Some(wanted.len() - 2));
    assert_eq!(rest["entries"][0]["target"], entries[2]["target"]);
}
