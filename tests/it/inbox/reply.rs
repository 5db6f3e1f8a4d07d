//! `POST /v1/messages?reply_within=S`: a request and its reply, through any server.

use std::time::Duration;

use crate::support::{Deployment, Http, Mode, eventually, for_each_mode, within};
use serde_json::{Value, json};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);
const MANY_LIMIT: Duration = Duration::from_secs(120);

fn question(id: Uuid) -> Value {
    json!({"id": id, "kind": "message", "type": "question", "sender_id": "alice", "recipient_id": "bob",
        "metadata": {"n": 1.50}})
}

fn answer(to: &str, content: &str) -> Value {
    json!({"kind": "message", "type": "answer", "sender_id": "bob", "in_reply_to": to, "content": content})
}

/// Replies twice to the first question; returns the question and the first reply.
async fn bob(http: &Http) -> (Value, Value) {
    let page = http.get("/v1/agents/bob/inbox?wait=60").await.expect(200).json();
    let question = page["messages"][0].clone();
    let id = question["id"].as_str().expect("an id").to_owned();
    let first = http.post_json("/v1/messages", &answer(&id, "first")).await.expect(201).json();
    http.post_json("/v1/messages", &answer(&id, "second")).await.expect(201);
    (question, first)
}

async fn message(http: &Http, id: &Value) -> String {
    http.get(&format!("/v1/messages/{}", id.as_str().expect("an id"))).await.expect(200).text()
}

/// Fails the test unless the exchange is the two messages, byte for byte as in history.
async fn assert_exchange(http: &Http, exchange: &str, question: &Value, first: &Value) {
    let request = message(http, &question["id"]).await;
    let reply = message(http, &first["id"]).await;
    assert_eq!(exchange, format!("{{\"request\":{request},\"reply\":{reply}}}"));
}

for_each_mode! {
    async fn the_first_reply_is_the_answer(deployment: &Deployment) {
        let http = deployment.http();
        let id = Uuid::new_v4();
        let asked = question(id);
        let ask = http.post_json("/v1/messages?reply_within=60", &asked);
        let (exchange, (question, first)) = within(LIMIT, "an exchange", async { tokio::join!(ask, bob(http)) }).await;
        assert_exchange(http, &exchange.expect(200).text(), &question, &first).await;
        // A repeat under the same id finds the reply in history.
        let again = within(LIMIT, "from history", http.post_json("/v1/messages?reply_within=60", &asked)).await;
        assert_exchange(http, &again.expect(200).text(), &question, &first).await;
        let mut other = asked.clone();
        other["content"] = json!("another question");
        http.post_json("/v1/messages?reply_within=60", &other).await.expect(409);
    }

    async fn more_requests_wait_than_may_run_at_once(deployment: &Deployment) {
        let http = deployment.http();
        const MANY: usize = 2_200;
        let ids: Vec<Uuid> = (0..MANY).map(|_| Uuid::new_v4()).collect();
        let mut asks = tokio::task::JoinSet::new();
        for id in ids.clone() {
            let http = http.clone();
            asks.spawn(async move {
                // A publish may be refused when too many run at once; waiting for a reply is
                // never refused for that.
                loop {
                    let answer = http.post_json("/v1/messages?reply_within=60", &question(id)).await;
                    if answer.status != 503 {
                        return answer.expect(200).json();
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        let answer_all = async {
            // The replies come only once all requests wait.
            eventually(MANY_LIMIT, "all are asked", async || {
                let stats = http.get("/v1/stats").await;
                (stats.status == 200 && stats.json()["counts"]["by_type"]["question"] == MANY).then_some(())
            })
            .await;
            for id in ids {
                http.post_json("/v1/messages", &answer(&id.to_string(), "here")).await.expect(201);
            }
        };
        let answered = async {
            while let Some(exchange) = asks.join_next().await {
                let exchange = exchange.expect("no panic");
                assert_eq!(exchange["reply"]["in_reply_to"], exchange["request"]["id"]);
            }
        };
        within(MANY_LIMIT, "all are answered", async { tokio::join!(answer_all, answered) }).await;
    }
}

#[tokio::test]
async fn a_reply_comes_through_another_server() {
    let deployment = Deployment::start(Mode::Nats).await;
    let other = deployment.second_server().await;
    let (here, there) = (deployment.http(), other.http());
    for _ in 0..5 {
        let asked = question(Uuid::new_v4());
        let ask = here.post_json("/v1/messages?reply_within=60", &asked);
        let exchange = async { tokio::join!(ask, bob(&there)) };
        let (exchange, (question, first)) = within(LIMIT, "an exchange", exchange).await;
        assert_exchange(here, &exchange.expect(200).text(), &question, &first).await;
        // A repeat through the other server gets the same reply.
        let again =
            there.post_json("/v1/messages?reply_within=60", &asked).await.expect(200).text();
        assert_exchange(here, &again, &question, &first).await;
        let through = json!({"through": question["seq"]});
        there.post_json("/v1/agents/bob/inbox/ack", &through).await.expect(200);
    }
}
