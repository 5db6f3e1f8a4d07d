//! An inbox full of expired messages does not delay other inboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::measure::{FLOOR, TIMES, p99};
use crate::support::{Http, eventually, for_each_mode};

const LIMIT: Duration = Duration::from_secs(120);
/// Messages to `bob` that have expired.
const EXPIRED: usize = 10_000;
/// How many clients read that inbox again and again.
const ASKERS: usize = 8;

fn to(recipient: &str, content: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "mallory", "recipient_id": recipient, "content": content})
}

async fn fill(http: &Http) {
    let mut expired = to("bob", "too late");
    expired["expires_at"] = json!("2020-01-01T00:00:00Z");
    for _ in 0..EXPIRED / 1_000 {
        let answer = http.post_ndjson("/v1/messages/batch", &vec![expired.clone(); 1_000]).await;
        assert_eq!(answer.expect(200).json()["accepted"], 1_000);
    }
    for content in ["one", "two"] {
        http.post_json("/v1/messages?ack=committed", &to("carol", content)).await.expect(201);
    }
}

for_each_mode! {
    async fn expired_messages_for_one_agent_delay_no_other(deployment: &Deployment) {
        let http = deployment.http();
        fill(http).await;
        let carol = "/v1/agents/carol/inbox?limit=1";
        let quiet = p99(http, carol).await;
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let (http, stop, answered) = (http.clone(), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let page = http.get("/v1/agents/bob/inbox?limit=1").await.expect(200).json();
                    assert_eq!(page["messages"], json!([]));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let askers: Vec<_> = (0..ASKERS).map(|_| ask()).collect();
        eventually(LIMIT, "each has asked", async || {
            (answered.load(Ordering::Relaxed) >= ASKERS).then_some(())
        })
        .await;
        let beside = p99(http, carol).await;
        eprintln!("p99 of another inbox: {quiet:.1?} quiet, {beside:.1?} beside {ASKERS} that ask");
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.await.expect("the asker ends");
        }
        assert!(beside <= (quiet * TIMES).max(FLOOR), "{beside:?} beside, {quiet:?} quiet");
        let metrics = http.get("/metrics").await.expect(200).text();
        let skipped = metrics.lines().find_map(|line| line.strip_prefix("agentbus_inbox_expired_total "));
        let skipped: usize = skipped.expect("counted").parse().expect("a number");
        assert_eq!(skipped, EXPIRED * answered.load(Ordering::Relaxed), "each is counted once a request");
    }

    async fn messages_after_expired_ones_are_found(deployment: &Deployment) {
        let http = deployment.http();
        fill(http).await;
        let mut later = to("bob", "in time");
        later["expires_at"] = json!("2099-01-01T00:00:00Z");
        let answer = http.post_json("/v1/messages?ack=committed", &later).await.expect(201).json();
        for query in ["?limit=1", "?limit=1000", "?broadcast=true&wait=5"] {
            let page = http.get(&format!("/v1/agents/bob/inbox{query}")).await.expect(200).json();
            assert_eq!(page["messages"][0]["seq"], answer["seq"], "{query}: {page}");
            assert_eq!(page["next"], Value::Null);
        }
        let state = http.post_json("/v1/agents/bob/inbox/ack", &json!({"through": 10})).await;
        assert_eq!(state.expect(200).json(), json!({"consumed_through": 10, "waiting": 1}));
    }
}
