//! Whose reply a waiting question gets.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::keys::Secured;
use crate::support::{Http, Mode, eventually};

/// Time limit for a message to be in the store, on a busy machine.
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

fn grants(names: &[&str]) -> Value {
    json!({"as": names, "publish": ["agent.message.>"], "read": ["agent.message.>"]})
}

/// Asks, and meanwhile lets others answer in this order; returns the reply.
pub async fn ask(asker: &Http, recipient: &str, answers: &[(&Http, &str)]) -> Value {
    let id = uuid::Uuid::now_v7();
    let question = json!({
        "id": id, "kind": "message", "type": "question", "sender_id": "ann", "recipient_id": recipient,
        "content": "Which port?",
    });
    let json = [("content-type", "application/json")];
    let asked =
        asker.request(Method::POST, "/v1/messages?reply_within=40", &json, question.to_string());
    let answered = async {
        eventually(SOON, "the question is in the store", async || {
            (asker.get(&format!("/v1/messages/{id}")).await.status == 200).then_some(())
        })
        .await;
        for (http, sender) in answers {
            let answer = json!({
                "kind": "message", "type": "answer", "sender_id": sender, "recipient_id": "ann", "in_reply_to": id,
                "content": sender,
            });
            http.post_json("/v1/messages?ack=committed", &answer).await.expect(201);
        }
    };
    let (reply, ()) = tokio::join!(asked, answered);
    reply.expect("an answer").expect(200).json()["reply"].clone()
}

#[tokio::test]
async fn only_the_recipient_of_a_question_answers_it() {
    for mode in [Mode::MemorySqlite, Mode::Nats] {
        let secured = Secured::start(mode).await;
        let [ann, bob, eve] = [["ann"], ["bob"], ["eve"]].map(|names| grants(&names));
        let (ann, bob, eve) =
            (secured.key(ann).await, secured.key(bob).await, secured.key(eve).await);
        let reply = ask(&ann.http, "bob", &[(&eve.http, "eve"), (&bob.http, "bob")]).await;
        assert_eq!((&reply["sender_id"], &reply["key_id"]), (&json!("bob"), &json!(bob.id)));
    }
}

#[tokio::test]
async fn only_a_person_answers_a_question_to_people() {
    for mode in [Mode::MemorySqlite, Mode::Nats] {
        let secured = Secured::start(mode).await;
        let ann = secured.key(grants(&["ann"])).await;
        // An agent by that name is no person.
        let agent = secured.key(grants(&["human"])).await;
        let person = json!({"name": "hal", "kind": "human", "grants": grants(&["hal"])});
        let person = secured.make(person).await;
        let reply = ask(&ann.http, "human", &[(&agent.http, "human"), (&person.http, "hal")]).await;
        assert_eq!((&reply["sender_id"], &reply["key_id"]), (&json!("hal"), &json!(person.id)));
    }
}
