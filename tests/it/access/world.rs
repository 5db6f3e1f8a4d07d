//! A log with messages, jobs, dead letters and webhooks, of which a narrow key may see a part. What it may not see
//! contains [`HIDDEN`], and what it may see [`VISIBLE`].

use std::time::Duration;

use crate::support::eventually;
use crate::support::keys::{Keyed, Secured};
use serde_json::{Value, json};

pub const HIDDEN: &str = "hidden";
pub const VISIBLE: &str = "visible";

pub struct World {
    pub hidden_message: String,
    pub visible_message: String,
    pub hidden_letter: String,
    pub visible_letter: String,
    pub other_letter: String,
    pub webhook: String,
    pub victim: Keyed,
    /// Nothing granted.
    pub nothing: Keyed,
    /// As `ann`; publishes messages; reads task `t1`; puts into and leases from `builds`; dead letters.
    pub narrow: Keyed,
    pub expired: Keyed,
    pub revoked: Keyed,
}

/// What the narrow key may do.
pub fn narrow_grants() -> Value {
    json!({
        "as": ["ann"], "publish": ["agent.message.>"], "read": ["agent.task.t1.>"],
        "enqueue": ["builds"], "work": ["builds"], "can": ["dead_letters"],
    })
}

impl World {
    pub async fn build(secured: &Secured) -> Self {
        let root = &secured.root;
        let post = async |message: Value| {
            let answer = root.post_json("/v1/messages?ack=committed", &message).await.expect(201);
            answer.json()["id"].as_str().expect("an id").to_owned()
        };
        let task = |task: &str, content: &str| {
            json!({"kind": "task", "type": "note", "sender_id": "bob", "task_id": task,
                   "recipient_id": "carl", "content": content})
        };
        let hidden_message = post(task("hidden-t2", HIDDEN)).await;
        let visible_message = post(task("t1", VISIBLE)).await;
        post(json!({"kind": "message", "type": "note", "sender_id": "bob", "recipient_id": "ann",
                    "content": VISIBLE}))
        .await;
        post(json!({"kind": "message", "type": "hidden", "sender_id": "bob", "content": HIDDEN}))
            .await;
        let hidden_letter = dead_job(secured, "hidden-q", HIDDEN).await;
        let other_letter = dead_job(secured, "hidden-other", HIDDEN).await;
        let visible_letter = dead_job(secured, "builds", VISIBLE).await;
        let webhook = json!({"url": "http://127.0.0.1:9/hidden"});
        let webhook = root.post_json("/v1/webhooks", &webhook).await.expect(201).json()["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let expires_at = (chrono::Utc::now() + Duration::from_secs(1)).to_rfc3339();
        let all = json!({"as": ["*"], "publish": ["agent.>"], "read": ["agent.>"]});
        let short = json!({"name": "short", "grants": all, "expires_at": expires_at});
        let expired = secured.make(short).await;
        let revoked = secured.key(all).await;
        secured.revoke(&revoked.id).await;
        eventually(Duration::from_secs(10), "the key expires", async || {
            (expired.http.get("/v1/me").await.status == 401).then_some(())
        })
        .await;
        Self {
            hidden_message,
            visible_message,
            hidden_letter,
            visible_letter,
            other_letter,
            webhook,
            victim: secured.key(json!({"as": ["hidden-victim"]})).await,
            nothing: secured.key(json!({})).await,
            narrow: secured.key(narrow_grants()).await,
            expired,
            revoked,
        }
    }
}

/// Makes a job that is given up at once; returns the id of its dead letter.
async fn dead_job(secured: &Secured, queue: &str, payload: &str) -> String {
    let root = &secured.root;
    let job = json!({"type": "build", "payload": {"what": payload}});
    root.post_json(&format!("/v1/queues/{queue}/jobs"), &job).await.expect(201);
    let leased = root.post_json(&format!("/v1/queues/{queue}/lease"), &json!({"wait_s": 20})).await;
    let token =
        leased.expect(200).json()["jobs"][0]["lease_token"].as_str().expect("a token").to_owned();
    let fail =
        root.post_json(&format!("/v1/leases/{token}/fail"), &json!({"reason": payload})).await;
    fail.expect(200);
    eventually(Duration::from_secs(20), "the dead letter is there", async || {
        let letters =
            root.get(&format!("/v1/dead-letters?source={queue}")).await.expect(200).json();
        letters["dead_letters"][0]["id"].as_str().map(str::to_owned)
    })
    .await
}
