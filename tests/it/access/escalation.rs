//! Nobody grants more than they hold, and ids are no oracle.

use serde_json::{Value, json};

use crate::support::Mode;
use crate::support::keys::Secured;

#[tokio::test]
async fn a_key_that_manages_keys_gets_no_further() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let soon = (chrono::Utc::now() + std::time::Duration::from_secs(3_600)).to_rfc3339();
    let later = (chrono::Utc::now() + std::time::Duration::from_secs(7_200)).to_rfc3339();
    let manager = secured
        .make(json!({
            "name": "manager", "expires_at": soon, "limits": {"messages_per_s": 5},
            "grants": {"can": ["keys"], "as": ["ann"], "read": ["agent.task.>"]},
        }))
        .await;
    let other = secured.key(json!({"read": ["agent.>"]})).await;
    let human = secured.make(json!({"name": "h", "kind": "human", "grants": {}})).await;
    let limits = json!({"messages_per_s": 5});
    let make = |grants: Value| json!({"name": "x", "grants": grants, "expires_at": soon, "limits": limits});
    let forbidden = async |body: Value, needs: &str| {
        let refused = manager.http.post_json("/v1/keys", &body).await.expect(403).json();
        assert_eq!(refused["needs"], needs, "{body}");
    };
    forbidden(make(json!({"as": ["bob"]})), "as bob").await;
    forbidden(make(json!({"as": ["*"]})), "as *").await;
    forbidden(make(json!({"read": ["agent.>"]})), "read agent.>").await;
    forbidden(make(json!({"publish": ["agent.message.x.y"]})), "publish agent.message.x.y").await;
    forbidden(make(json!({"can": ["observe"]})), "can observe").await;
    forbidden(make(json!({"work": ["*"]})), "work *").await;
    let mut widened = make(json!({}));
    widened["expires_at"] = json!(later);
    forbidden(widened.clone(), "a key that lives as long").await;
    widened.as_object_mut().expect("an object").remove("expires_at");
    forbidden(widened, "a key that lives as long").await;
    let mut unlimited = make(json!({}));
    unlimited["limits"] = json!({});
    forbidden(unlimited, "limits as wide").await;
    let mut person = make(json!({}));
    person["kind"] = json!("human");
    forbidden(person, "kind human").await;
    // What it makes lies within it.
    let made = manager.http.post_json("/v1/keys", &make(json!({"as": ["ann"]}))).await.expect(201);
    let made = made.json()["id"].as_str().expect("an id").to_owned();
    let patch = async |id: &str, change: Value| {
        let headers = [("content-type", "application/json")];
        let (path, change) = (format!("/v1/keys/{id}"), change.to_string());
        let answer = manager.http.request(reqwest::Method::PATCH, &path, &headers, change).await;
        answer.expect("an answer").status
    };
    assert_eq!(patch(&made, json!({"name": "z"})).await, 200);
    assert_eq!(patch(&made, json!({"grants": {"as": ["bob"]}})).await, 403);
    assert_eq!(patch(&made, json!({"expires_at": later})).await, 403);
    assert_eq!(patch(&made, json!({"expires_at": null})).await, 403);
    assert_eq!(patch(&made, json!({"limits": {}})).await, 403);
    assert_eq!(patch(&manager.id, json!({"expires_at": later})).await, 403, "its own life");
    assert_eq!(patch(&manager.id, json!({"grants": {"can": ["keys", "erase"]}})).await, 403);
    // Keys beyond it: wider, or of a person.
    for id in [&other.id, &human.id] {
        assert_eq!(patch(id, json!({"name": "mine"})).await, 403);
        let rotate = manager.http.post_json(&format!("/v1/keys/{id}/rotate"), &json!({})).await;
        assert_eq!(rotate.status, 403);
        assert_eq!(manager.http.delete(&format!("/v1/keys/{id}")).await.status, 403);
    }
    assert_eq!(patch("root", json!({"name": "mine"})).await, 403);
    assert_eq!(manager.http.delete("/v1/keys/root").await.status, 403);
    assert_eq!(patch("none", json!({"name": "mine"})).await, 404);
    // Its own secret: the same grants, and no longer life.
    let rotated =
        manager.http.post_json(&format!("/v1/keys/{}/rotate", manager.id), &json!({})).await;
    let key = rotated.expect(200).json()["key"].as_str().expect("a key").to_owned();
    manager.http.get("/v1/me").await.expect(401);
    let me = manager.http.with_key(&key).get("/v1/me").await.expect(200).json();
    assert_eq!(me["grants"], json!({"as": ["ann"], "read": ["agent.task.>"], "can": ["keys"]}));
    for key in [&other, &human] {
        key.http.get("/v1/me").await.expect(200);
    }
}

#[tokio::test]
async fn repeats_by_any_credential_are_one_message() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let grants = json!({"as": ["ann"], "publish": ["agent.message.>"]});
    let (first, second) = (secured.key(grants.clone()).await, secured.key(grants).await);
    let message = json!({"kind": "message", "type": "note", "content": "once"});
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let post = async |http: &crate::support::Http| {
        let body = message.to_string();
        http.request(reqwest::Method::POST, "/v1/messages", &headers, body)
            .await
            .expect("an answer")
    };
    let seq = post(&first.http).await.expect(201).seq();
    assert_eq!(post(&first.http).await.expect(200).seq(), seq);
    assert_eq!(post(&second.http).await.expect(200).seq(), seq, "another key of the same agent");
    let cookie = super::sessions::log_in(&first.http).await;
    let with_cookie = [headers[0], headers[1], ("cookie", cookie.as_str())];
    let again = secured
        .stranger()
        .request(reqwest::Method::POST, "/v1/messages", &with_cookie, message.to_string())
        .await
        .expect("an answer");
    assert_eq!(again.expect(200).seq(), seq, "a cookie");
}

#[tokio::test]
async fn a_conflict_names_only_what_the_caller_may_read() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let id = uuid::Uuid::now_v7().to_string();
    let theirs =
        json!({"kind": "message", "type": "note", "sender_id": "bob", "id": id, "content": "a"});
    let seq = secured.root.post_json("/v1/messages", &theirs).await.expect(201).seq();
    let post = async |grants: Value| {
        let key = secured.key(grants).await;
        let mine = json!({"kind": "message", "type": "note", "sender_id": "ann", "id": id, "content": "b"});
        key.http.post_json("/v1/messages", &mine).await.expect(409).json()
    };
    let blind = post(json!({"as": ["ann"], "publish": ["agent.>"]})).await;
    assert_eq!((&blind["code"], &blind["seq"]), (&json!("idempotency_conflict"), &Value::Null));
    assert!(!blind["detail"].as_str().expect("a text").contains("sequence"), "{blind}");
    let reader = post(json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"]})).await;
    assert_eq!(reader["seq"], seq);
}
