//! Who may erase what, what is recorded, and what a repeat of an erased message gets.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SECRET, erase, publish, secret};
use crate::support::keys::Secured;
use crate::support::streams::{message, publish as publish_all};
use crate::support::wire::{named, names, problem_code};
use crate::support::{Agentbus, Deployment, Mode, Nats, Postgres, eventually, for_each_mode};

for_each_mode! {
    async fn a_repeat_is_a_duplicate_whatever_its_body(deployment: &Deployment) {
        let http = deployment.http();
        let id = uuid::Uuid::now_v7().to_string();
        let mut posted = secret("ann");
        posted["id"] = id.clone().into();
        let (seq, _) = publish(http, &posted).await;
        erase(http, &id).await.expect(200);
        let mut other = json!({"kind": "status", "type": "up", "sender_id": "ann", "id": id});
        for body in [&posted, &other] {
            let answer = http.post_json("/v1/messages", body).await.expect(200).json();
            assert_eq!((&answer["seq"], &answer["duplicate"]), (&json!(seq), &json!(true)));
        }
        other["sender_id"] = "bob".into();
        problem_code(&http.post_json("/v1/messages", &other).await, 409, "idempotency_conflict");
        // A message that only looks erased keeps its id for its own body.
        let looks = uuid::Uuid::now_v7().to_string();
        let mut body = json!({"kind": "status", "type": "up", "sender_id": "ann", "id": looks,
            "content": "", "metadata": {"erased": true}});
        publish(http, &body).await;
        body["content"] = "x".into();
        problem_code(&http.post_json("/v1/messages", &body).await, 409, "idempotency_conflict");
    }

    async fn what_cannot_be_erased_is_told(deployment: &Deployment) {
        let http = deployment.http();
        let (_, id) = publish(http, &secret("ann")).await;
        let path = format!("/v1/messages/{id}/erase");
        for (body, pointer) in [
            (json!({}), "/reason"),
            (json!({"reason": " "}), "/reason"),
            (json!({"reason": "a\u{0}"}), "/reason"),
            (json!({"reason": "x".repeat(501)}), "/reason"),
            (json!({"reason": 1}), "/reason"),
            (json!({"reason": "x", "seq": 1}), "/seq"),
        ] {
            let problem = problem_code(&http.post_json(&path, &body).await, 422, "invalid_body");
            assert_eq!(named(&problem, "pointer"), names([pointer]), "{body}");
        }
        assert_eq!(http.post(&path, "application/json", "").await.status, 400);
        for id in ["nothing", "00000000-0000-4000-8000-000000000000"] {
            problem_code(&erase(http, id).await, 404, "not_found");
        }
        assert!(http.get(&format!("/v1/messages/{id}")).await.text().contains(SECRET));
    }
}

#[tokio::test]
async fn it_takes_the_grant_and_the_reading_of_the_message() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let key = async |grants: Value| secured.key(grants).await.http;
    let all = key(json!({"as": ["*"], "publish": ["agent.>"], "read": ["agent.>"]})).await;
    let eraser = key(json!({"can": ["erase"], "read": ["agent.message.>"]})).await;
    let elsewhere = key(json!({"can": ["erase"], "read": ["agent.task.>"]})).await;
    let (seq, id) = publish(&all, &secret("ann")).await;
    let problem = problem_code(&erase(&all, &id).await, 403, "forbidden");
    assert_eq!(problem["needs"], "can erase");
    problem_code(&erase(&elsewhere, &id).await, 404, "not_found");
    erase(&eraser, &id).await.expect(200);
    let auditor = key(json!({"can": ["keys"]})).await;
    let audit = auditor.get("/v1/audit?limit=1000").await.expect(200).json();
    let entries = audit["entries"].as_array().expect("entries");
    let found: Vec<_> = entries.iter().filter(|it| it["action"] == "message.erase").collect();
    assert_eq!(found.len(), 1, "{entries:?}");
    assert_eq!(found[0]["target"], id);
    assert_eq!(found[0]["detail"], json!({"seq": seq, "reason": "asked to"}));
    assert!(!audit.to_string().contains(SECRET));
}

#[tokio::test]
async fn all_messages_with_the_id_are_erased() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (http, nats) = (deployment.http(), deployment.nats().expect("NATS"));
    let (seq, id) = publish(http, &secret("ann")).await;
    let jetstream = nats.jetstream().await;
    let foreign = json!({"id": id, "kind": "task", "type": "x", "sender_id": "eve", "task_id": "t1", "content": SECRET});
    let ack = jetstream.publish("agent.task.t1.x", foreign.to_string().into()).await.expect("sent");
    let second = ack.await.expect("acked").sequence;
    crate::support::wire::committed(http, second).await;
    assert_eq!(erase(http, &id).await.expect(200).json()["seq"], seq);
    let page = http.get("/v1/messages").await.expect(200);
    assert!(!page.text().contains(SECRET), "{}", page.text());
    let kept = &page.json()["messages"][1];
    assert_eq!((&kept["seq"], &kept["sender_id"]), (&json!(second), &json!("eve")));
    let stream = jetstream.get_stream("agent-messages").await.expect("the stream");
    assert_eq!(stream.cached_info().state.messages, 0);
}

#[tokio::test]
async fn what_the_store_does_not_have_yet_is_a_conflict() {
    let postgres = Postgres::start().await;
    let nats = Nats::start().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &postgres.database().await).start().await;
    let http = agentbus.http();
    let (_, id) = publish(&http, &secret("ann")).await;
    // The projector waits for the lock; the rest of the store answers.
    let url = agentbus.env()["DATABASE_URL"].clone();
    let mut lock = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.expect("connects");
    sqlx::query("BEGIN").execute(&mut lock).await.expect("begun");
    sqlx::query("LOCK TABLE holes IN EXCLUSIVE MODE").execute(&mut lock).await.expect("locked");
    let late = http.post_json("/v1/messages", &secret("ann")).await.expect(201).json();
    let late = late["id"].as_str().expect("an id");
    problem_code(&erase(&http, late).await, 409, "not_committed");
    erase(&http, &id).await.expect(200);
    sqlx::query("ROLLBACK").execute(&mut lock).await.expect("rolled back");
    eventually(Duration::from_secs(60), "the store has it", async || {
        (erase(&http, late).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_nats_away_nothing_is_begun() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (http, nats) = (deployment.http(), deployment.nats().expect("NATS"));
    let (seq, id) = publish(http, &secret("ann")).await;
    publish_all(http, &[message(1)]).await;
    nats.kill9();
    eventually(Duration::from_secs(30), "the server sees it", async || {
        (http.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    let problem = problem_code(&erase(http, &id).await, 503, "bus_unavailable");
    assert_eq!(problem["outcome"], "not_sent");
    assert!(http.get(&format!("/v1/messages/{id}")).await.text().contains(SECRET));
    nats.restart().await;
    eventually(Duration::from_secs(60), "it can be erased", async || {
        (erase(http, &id).await.status == 200).then_some(())
    })
    .await;
    let erased = http.get(&format!("/v1/messages/{id}")).await.expect(200).json();
    assert_eq!((&erased["seq"], &erased["content"]), (&json!(seq), &json!("")));
}
