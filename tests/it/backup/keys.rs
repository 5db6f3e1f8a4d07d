//! Keys come back disabled, and what they made waits for them.

use serde_json::{Value, json};

use super::{Drill, done, run};
use crate::support::keys::{ROOT, Secured};
use crate::support::receiver::Receiver;
use crate::support::wire::SOON;
use crate::support::{Http, Mode, eventually};

async fn status(http: &Http) -> u16 {
    http.get("/v1/messages").await.status
}

/// Keys are disabled until each is enabled, on this store.
async fn keys_are_enabled_one_by_one(mode: Mode) {
    let receiver = Receiver::start().await;
    let private = [("WEBHOOK_ALLOW_PRIVATE", "true")];
    let secured = Secured::tuned(mode, &private).await;
    let drill = Drill::of(&secured.deployment).await;
    let grants = json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"],
        "can": ["webhooks"]});
    let (ann, other) = (secured.key(grants.clone()).await, secured.key(grants).await);
    let hook = json!({"url": receiver.url(), "filter": "agent.message.>"});
    let hook = ann.http.post_json("/v1/webhooks", &hook).await.expect(201).json();
    let hook = format!("/v1/webhooks/{}", hook["id"].as_str().expect("an id"));
    drill.back_up("b").await;
    secured.deployment.agentbus().kill9();

    let kept = drill.empty("kept").await;
    done(&["restore", &drill.at("b"), "--keep-keys"], &kept).await;
    let server = drill.serve(&kept).await;
    assert_eq!(status(&server.http().with_key(&ann.key)).await, 200);
    server.terminate().await;

    let env = drill.empty("restored").await;
    done(&["restore", &drill.at("b")], &env).await;
    let server = drill.serve(&env).await;
    let root = server.http().with_key(ROOT);
    let [with_ann, with_other] = [&ann, &other].map(|key| server.http().with_key(&key.key));
    let refusal = with_ann.get("/v1/messages").await.expect(401);
    assert!(refusal.text().contains("disabled"), "{}", refusal.text());
    assert_eq!(status(&with_other).await, 401);
    let listed = root.get("/v1/keys").await.expect(200).json();
    let keys = listed["keys"].as_array().expect("keys");
    assert!(keys.iter().all(|key| key["disabled"] == true), "{listed}");
    let note = json!({"kind": "message", "type": "note", "sender_id": "bob", "content": "x"});
    let sent = root.post_json("/v1/messages", &note).await.expect(201).json();
    let paused = eventually(SOON, "the webhook waits for its key", async || {
        let shown: Value = root.get(&hook).await.expect(200).json();
        (shown["state"] == "paused").then_some(shown)
    });
    assert!(paused.await["reason"].as_str().is_some_and(|it| it.contains("disabled")));

    let enabled = done(&["keys", "enable", &ann.id], &env).await;
    assert_eq!((&enabled["id"], &enabled["disabled"]), (&json!(ann.id), &Value::Null));
    eventually(SOON, "the key works", async || (status(&with_ann).await == 200).then_some(()))
        .await;
    assert_eq!(status(&with_other).await, 401, "it was not enabled");
    let got = receiver.take(1, SOON).await;
    assert_eq!(json!(got[0].seq()), sent["seq"], "the webhook goes on");
    let unknown = run(&["keys", "enable", "000000000000"], &env).await;
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no key"), "{unknown:?}");
    server.terminate().await;
}

#[tokio::test]
async fn keys_are_disabled_on_sqlite() {
    keys_are_enabled_one_by_one(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn keys_are_disabled_on_postgres() {
    keys_are_enabled_one_by_one(Mode::MemoryPostgres).await;
}

#[tokio::test]
async fn keys_are_disabled_on_nats() {
    keys_are_enabled_one_by_one(Mode::Nats).await;
}
