//! Payload schemas (contract, section 13): versions, modes, what a message is told, trying one on history; on several
//! servers, after a restart, and for messages of other NATS clients.

use std::time::Duration;

use crate::support::keys::Secured;
use crate::support::wire::{self, named, problem_code};
use crate::support::{
    Agentbus, Answer, Deployment, Http, Mode, Nats, Postgres, eventually, for_each_mode, metrics,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const ORDER: &str = "/v1/schemas/message/order";
const MESSAGES: &str = "/v1/messages";
/// Time limit for a change to hold on every server (contract, sections 11 and 13).
const EVERYWHERE: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);

/// A schema for orders: the content is one word, the metadata has a number.
fn schema() -> Value {
    json!({
        "properties": {
            "content": {"pattern": "^[a-z]+$"},
            "metadata": {
                "properties": {"n": {"type": "integer", "minimum": 1}},
                "required": ["n"]
            }
        }
    })
}

fn order(content: &str, metadata: Value) -> Value {
    json!({"kind": "message", "type": "order", "sender_id": "ann", "content": content, "metadata": metadata})
}

fn good() -> Value {
    order("tea", json!({"n": 2}))
}

fn bad() -> Value {
    order("No tea", json!({"n": "two"}))
}

async fn put(http: &Http, mode: &str) -> Value {
    let answer = http.put_json(ORDER, &json!({"schema": schema(), "mode": mode})).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

#[track_caller]
fn violation(answer: &Answer, pointers: &[&str]) {
    let problem = problem_code(answer, 422, "schema_violation");
    let expected = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
    assert_eq!(named(&problem, "pointer"), expected, "{problem}");
}

for_each_mode! {
    async fn versions_are_kept_and_the_newest_counts(deployment: &Deployment) {
        let http = deployment.http();
        assert_eq!(http.get("/v1/schemas").await.expect(200).json(), json!({"schemas": []}));
        problem_code(&http.get(ORDER).await, 404, "not_found");
        problem_code(&http.get(&format!("{ORDER}/versions")).await, 404, "not_found");
        problem_code(&http.delete(ORDER).await, 404, "not_found");
        let first = http.put_json(ORDER, &json!({"schema": schema()})).await.expect(201);
        assert_eq!(first.header("location"), Some(ORDER));
        let first = first.json();
        assert_eq!((&first["version"], &first["mode"]), (&json!(1), &json!("enforce")), "{first}");
        assert_eq!((&first["content"], &first["schema"]), (&json!("text"), &schema()), "{first}");
        let again = http.put_json(ORDER, &json!({"schema": schema(), "content": "text"})).await;
        assert_eq!(again.expect(200).json(), first, "no new version");
        let second = put(http, "warn").await;
        assert_eq!((&second["version"], &second["mode"]), (&json!(2), &json!("warn")));
        assert_eq!(http.get(ORDER).await.expect(200).json(), second);
        let versions = http.get(&format!("{ORDER}/versions")).await.expect(200).json();
        assert_eq!(versions, json!({"versions": [second, first]}));
        http.put_json("/v1/schemas/task/done", &json!({"schema": true, "mode": "off"}))
            .await
            .expect(201);
        let all = http.get("/v1/schemas").await.expect(200).json();
        let listed = |at: usize, name: &str| all["schemas"][at][name].clone();
        assert_eq!(
            [listed(0, "kind"), listed(0, "type"), listed(0, "version")],
            [json!("message"), json!("order"), json!(2)]
        );
        assert_eq!([listed(1, "kind"), listed(1, "schema")], [json!("task"), Value::Null], "{all}");
        assert_eq!(http.delete(ORDER).await.expect(204).text(), "");
        problem_code(&http.get(ORDER).await, 404, "not_found");
        http.post_json(MESSAGES, &bad()).await.expect(201);
    }

    async fn a_message_that_does_not_match_is_refused_with_pointers(deployment: &Deployment) {
        let http = deployment.http();
        http.post_json(MESSAGES, &bad()).await.expect(201);
        put(http, "enforce").await;
        http.post_json(MESSAGES, &good()).await.expect(201);
        violation(&http.post_json(MESSAGES, &bad()).await, &["/content", "/metadata/n"]);
        violation(&http.post_json(MESSAGES, &order("tea", json!({}))).await, &["/metadata"]);
        // Other types and kinds are not concerned.
        let mut other = bad();
        other["type"] = json!("other");
        http.post_json(MESSAGES, &other).await.expect(201);
        let mut status = bad();
        status["kind"] = json!("status");
        http.post_json(MESSAGES, &status).await.expect(201);
        violation(
            &http.post_json("/v1/messages?reply_within=1", &bad()).await,
            &["/content", "/metadata/n"],
        );
        let batch = http.post_ndjson("/v1/messages/batch", &[good(), bad(), good()]).await;
        let batch = batch.expect(200).json();
        assert_eq!((&batch["accepted"], &batch["rejected"]), (&json!(2), &json!(1)), "{batch}");
        let results = batch["results"].as_array().expect("results");
        assert_eq!(results[1]["status"], 422, "{batch}");
        assert_eq!(results[1]["error"]["code"], "schema_violation");
        assert_eq!(results[1]["error"]["errors"][0]["pointer"], "/content");
        assert!(results[2]["seq"].as_u64() > results[0]["seq"].as_u64(), "{batch}");
        let refused =
            r#"agentbus_schema_violations_total{kind="message",type="order",outcome="refused"}"#;
        assert_eq!(metrics::value(http, refused).await, 4.0);
        put(http, "off").await;
        http.post_json(MESSAGES, &bad()).await.expect(201);
    }

    async fn a_warning_is_told_and_the_message_accepted(deployment: &Deployment) {
        let http = deployment.http();
        put(http, "warn").await;
        let plain = http.post_json(MESSAGES, &good()).await.expect(201).json();
        assert!(plain.get("warnings").is_none(), "{plain}");
        let warned = http.post_json(MESSAGES, &bad()).await.expect(201).json();
        let warning = &warned["warnings"][0];
        assert_eq!(warning["code"], "schema_violation", "{warned}");
        assert_eq!(warning["errors"][1]["pointer"], "/metadata/n", "{warned}");
        let batch = http.post_ndjson("/v1/messages/batch", &[good(), bad()]).await.expect(200).json();
        assert_eq!(batch["results"][1]["status"], 201, "{batch}");
        assert_eq!(batch["results"][1]["warnings"][0]["code"], "schema_violation", "{batch}");
        assert!(batch["results"][0].get("warnings").is_none(), "{batch}");
        let warned =
            r#"agentbus_schema_violations_total{kind="message",type="order",outcome="warned"}"#;
        assert_eq!(metrics::value(http, warned).await, 2.0);
    }

    async fn a_repeat_of_what_was_accepted_is_not_judged_anew(deployment: &Deployment) {
        let http = deployment.http();
        let with_id = |mut message: Value, id: &str| {
            message["id"] = json!(id);
            message
        };
        let (before, after) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
        let first = http.post_json(MESSAGES, &with_id(bad(), &before)).await.expect(201).seq();
        let key = [("content-type", "application/json"), ("idempotency-key", "k1")];
        let keyed = async || {
            http.request(Method::POST, MESSAGES, &key, bad().to_string()).await.expect("an answer")
        };
        let keyed_first = keyed().await.expect(201).seq();
        put(http, "enforce").await;
        let repeat = http.post_json(MESSAGES, &with_id(bad(), &before)).await.expect(200).json();
        assert_eq!((&repeat["seq"], &repeat["duplicate"]), (&json!(first), &json!(true)));
        assert_eq!(keyed().await.expect(200).seq(), keyed_first);
        // Another body under that id is a conflict, whether it matches or not.
        for other in [with_id(good(), &before), with_id(order("No", json!({})), &before)] {
            problem_code(&http.post_json(MESSAGES, &other).await, 409, "idempotency_conflict");
        }
        let batch = [with_id(bad(), &before), with_id(bad(), &after)];
        let batch = http.post_ndjson("/v1/messages/batch", &batch).await.expect(200).json();
        let status = |at: usize| batch["results"][at]["status"].clone();
        assert_eq!([status(0), status(1)], [json!(200), json!(422)], "{batch}");
        violation(
            &http.post_json(MESSAGES, &with_id(bad(), &after)).await,
            &["/content", "/metadata/n"],
        );
        http.post_json(MESSAGES, &with_id(good(), &after)).await.expect(201);
    }

    async fn a_schema_is_tried_on_the_last_messages(deployment: &Deployment) {
        let http = deployment.http();
        let check = async |body: Value| http.put_json(&format!("{ORDER}?check=true"), &body).await;
        let incompatible = async || check(json!({"schema": schema()})).await.expect(200).json();
        assert_eq!(incompatible().await, json!({"incompatible": 0}));
        let mut last = 0;
        for (count, message) in [(2, bad()), (998, good()), (3, bad())] {
            let batch = vec![message; count];
            let answer = http.post_ndjson("/v1/messages/batch", &batch).await.expect(200).json();
            last = answer["results"][count - 1]["seq"].as_u64().expect("a sequence");
        }
        wire::committed(http, last).await;
        // The oldest three of the 1,003 are not looked at.
        assert_eq!(incompatible().await, json!({"incompatible": 3}));
        assert_eq!(
            check(json!({"schema": false})).await.expect(200).json(),
            json!({"incompatible": 1000})
        );
        assert_eq!(
            http.get("/v1/schemas").await.expect(200).json(),
            json!({"schemas": []}),
            "nothing is stored"
        );
        problem_code(&check(json!({"schema": 7})).await, 422, "invalid_body");
        let unknown = http.put_json(&format!("{ORDER}?check=perhaps&x=1"), &json!({})).await;
        assert_eq!(named(&problem_code(&unknown, 422, "invalid_parameter"), "parameter").len(), 2);
    }

    async fn content_may_be_json(deployment: &Deployment) {
        let http = deployment.http();
        let schema = json!({"properties": {"content": {"required": ["id"], "properties": {"id": {"type": "integer"}}}}});
        http.put_json(ORDER, &json!({"schema": schema, "content": "json"})).await.expect(201);
        http.post_json(MESSAGES, &order(r#"{"id": 7}"#, json!({}))).await.expect(201);
        violation(
            &http.post_json(MESSAGES, &order(r#"{"id": "7"}"#, json!({}))).await,
            &["/content/id"],
        );
        violation(&http.post_json(MESSAGES, &order("no JSON", json!({}))).await, &["/content"]);
    }

    async fn schemas_outlive_a_restart(deployment: &Deployment) {
        put(deployment.http(), "enforce").await;
        deployment.agentbus().kill9();
        deployment.agentbus().restart().await;
        let http = deployment.http();
        violation(&http.post_json(MESSAGES, &bad()).await, &["/content", "/metadata/n"]);
        assert_eq!(http.get(ORDER).await.expect(200).json()["version"], 1);
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_its_place() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let http = deployment.http();
    let refused = async |body: Value, pointers: &[&str]| {
        let problem = problem_code(&http.put_json(ORDER, &body).await, 422, "invalid_body");
        let expected = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
        assert_eq!(named(&problem, "pointer"), expected, "{problem}");
    };
    refused(json!({}), &["/schema"]).await;
    refused(
        json!({"schema": 7, "mode": "strict", "content": "xml", "more": 1}),
        &["/mode", "/content", "/more"],
    )
    .await;
    refused(json!({"schema": 7}), &["/schema"]).await;
    refused(json!({"schema": {"type": "text"}}), &["/schema/type"]).await;
    let outside = json!({"properties": {"content": {"$ref": "http://127.0.0.1:1/x"}, "metadata": {"$ref": "file:///etc/passwd"}}});
    refused(
        json!({"schema": outside}),
        &["/schema/properties/content/$ref", "/schema/properties/metadata/$ref"],
    )
    .await;
    refused(json!({"schema": {"$ref": "#"}}), &["/schema"]).await;
    refused(
        json!({"schema": {"properties": {"content": {"pattern": "(a|b)*a[ab]{30}"}}}}),
        &["/schema/properties/content/pattern"],
    )
    .await;
    for path in ["/v1/schemas/letter/order", "/v1/schemas/message/a%20b"] {
        problem_code(&http.put_json(path, &json!({"schema": {}})).await, 422, "invalid_name");
        problem_code(&http.get(path).await, 422, "invalid_name");
    }
    problem_code(
        &http.put_json("/v1/schemas/message", &json!({"schema": {}})).await,
        404,
        "not_found",
    );
    assert_eq!(http.get("/v1/schemas").await.expect(200).json(), json!({"schemas": []}));
}

/// A schema that lets each message cost as much as any may: others are served meanwhile.
#[tokio::test]
async fn a_costly_schema_does_not_hold_others_up() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let http = deployment.http();
    let branch =
        json!({"properties": {"l": {"items": {"anyOf": vec![json!({"type": "string"}); 30]}}}});
    let costly = json!({"properties": {"metadata": branch}});
    http.put_json("/v1/schemas/message/costly", &json!({"schema": costly})).await.expect(201);
    let list: Vec<u32> = (0..150_000).collect();
    let message =
        json!({"kind": "message", "type": "costly", "sender_id": "ann", "metadata": {"l": list}});
    let begun = tokio::time::Instant::now();
    let heavy = async {
        let posts = (0..8).map(|_| http.post_json(MESSAGES, &message));
        for answer in futures_util::future::join_all(posts).await {
            problem_code(&answer, 422, "schema_violation");
        }
    };
    let light = async {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let begun = tokio::time::Instant::now();
            http.post_json(MESSAGES, &good()).await.expect(201);
            longest = longest.max(begun.elapsed());
        }
        longest
    };
    let ((), longest) = tokio::join!(heavy, light);
    assert!(longest < Duration::from_secs(5), "{longest:?} of {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_change_holds_on_every_server_within_a_second() {
    let deployment = Deployment::start(Mode::Nats).await;
    let server = deployment.second_server().await;
    let second = server.http();
    let changes = [("enforce", 422), ("warn", 201), ("enforce", 422), ("off", 201)];
    for (mode, status) in changes {
        put(deployment.http(), mode).await;
        // The changing server holds to it at once.
        assert_eq!(deployment.http().post_json(MESSAGES, &bad()).await.status, status, "{mode}");
        eventually(EVERYWHERE, "the other server holds to the change", async || {
            (second.post_json(MESSAGES, &bad()).await.status == status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_last_schemas_count_while_the_store_is_away() {
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    let server = Agentbus::builder().nats(&nats.url(), &postgres.database().await).start().await;
    let http = server.http();
    put(&http, "enforce").await;
    postgres.kill9();
    http.post_json(MESSAGES, &good()).await.expect(201);
    let mut with_id = bad();
    with_id["id"] = json!(Uuid::now_v7());
    for message in [bad(), with_id] {
        violation(&http.post_json(MESSAGES, &message).await, &["/content", "/metadata/n"]);
    }
    let answer = http.put_json(ORDER, &json!({"schema": true})).await;
    problem_code(&answer, 503, "store_unavailable");
    eventually(SOON, "the metric says how old they are", async || {
        (metrics::value(&http, "agentbus_schemas_age_seconds").await > 1.0).then_some(())
    })
    .await;
    postgres.restart().await;
    eventually(SOON, "a change holds again", async || {
        let answer = http.put_json(ORDER, &json!({"schema": true})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    http.post_json(MESSAGES, &bad()).await.expect(201);
}

#[tokio::test]
async fn messages_of_other_nats_clients_are_counted_and_never_refused() {
    let deployment = Deployment::start(Mode::Nats).await;
    let http = deployment.http();
    put(http, "enforce").await;
    let other = deployment.nats().expect("a NATS server").jetstream().await;
    let payloads = [bad().to_string(), good().to_string(), "no JSON".to_owned(), bad().to_string()];
    let mut last = 0;
    for payload in payloads {
        let sent = other.publish("agent.message.agent.order", payload.into()).await;
        last = sent.expect("sent").await.expect("stored").sequence;
    }
    wire::committed(http, last).await;
    let page = http.get("/v1/messages?type=order").await.expect(200).json();
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(4), "{page}");
    let counted =
        r#"agentbus_schema_violations_total{kind="message",type="order",outcome="foreign"}"#;
    eventually(SOON, "three are counted", async || {
        (metrics::value(http, counted).await == 3.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_schema_is_tried_on_what_its_maker_may_read() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    for (task, content) in [("t1", "a"), ("t1", "b"), ("t2", "c")] {
        let event = json!({"kind": "task", "type": "done", "sender_id": "ann", "task_id": task, "content": content});
        secured.root.post_json(MESSAGES, &event).await.expect(201);
    }
    let maker = secured.key(json!({"can": ["schemas"], "read": ["agent.task.t1.>"]})).await.http;
    let blind = secured.key(json!({"can": ["schemas"]})).await.http;
    let path = "/v1/schemas/task/done?check=true";
    let count = async |http: &Http, schema: Value| {
        http.put_json(path, &json!({"schema": schema})).await.expect(200).json()["incompatible"]
            .clone()
    };
    assert_eq!(count(&secured.root, json!(false)).await, 3);
    assert_eq!(count(&maker, json!(false)).await, 2);
    assert_eq!(count(&blind, json!(false)).await, 0);
    // Who may not publish a message is not told what its type must be.
    maker.put_json("/v1/schemas/task/done", &json!({"schema": false})).await.expect(201);
    let event = json!({"kind": "task", "type": "done", "sender_id": "ann", "task_id": "t1"});
    problem_code(&maker.post_json(MESSAGES, &event).await, 403, "forbidden");
    problem_code(&secured.root.post_json(MESSAGES, &event).await, 422, "schema_violation");
    let audit = secured.root.get("/v1/audit?limit=1000").await.expect(200).json();
    let entries = audit["entries"].as_array().expect("entries");
    let put = entries.iter().find(|entry| entry["action"] == "schema.put").expect("an entry");
    assert_eq!((&put["target"], &put["detail"]["version"]), (&json!("task/done"), &json!(1)));
}

/// The server publishes the end of a status itself: no schema keeps it from that.
#[tokio::test]
async fn the_servers_own_messages_are_not_checked() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let http = server.http();
    let path = "/v1/schemas/status/offline";
    http.put_json(path, &json!({"schema": false})).await.expect(201);
    let status =
        json!({"kind": "status", "type": "online", "sender_id": "ann", "metadata": {"ttl_s": 1}});
    http.post_json(MESSAGES, &status).await.expect(201);
    eventually(SOON, "ann is offline", async || {
        let page = http.get("/v1/messages?type=offline").await.expect(200).json();
        (page["messages"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
}
