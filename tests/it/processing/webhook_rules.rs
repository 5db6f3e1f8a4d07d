//! Webhooks (contract, section 10): how they are created, read, paused and deleted, and what a receiver gets:
//! each message that passes the filter, as in history, signed as Standard Webhooks; also messages that were
//! published during a pause.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::streams;
use crate::support::wire::{self, JSON, SOON};
use crate::support::{Answer, Deployment, Http, Mode, eventually, for_each_mode, within};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

const WEBHOOKS: &str = "/v1/webhooks";
/// An address without a receiver.
const NOWHERE: &str = "https://hooks.example.com/agentbus";
const DELIVERED: Duration = Duration::from_secs(30);

/// A delivery as it was received.
#[derive(Debug)]
struct Delivery {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Delivery {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(it, _)| it == name);
        &found.unwrap_or_else(|| panic!("no {name}: {self:?}")).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A receiver that accepts every delivery.
struct Receiver {
    url: String,
    deliveries: UnboundedReceiver<Delivery>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (sender, deliveries) = unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, sender.clone()));
            }
        });
        Self { url, deliveries, task }
    }

    async fn next(&mut self) -> Delivery {
        within(DELIVERED, "a delivery", self.deliveries.recv()).await.expect("a delivery")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(connection: TcpStream, sender: UnboundedSender<Delivery>) {
    let mut connection = BufReader::new(connection);
    while let Some(delivery) = read(&mut connection).await {
        let _ = sender.send(delivery);
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        if connection.write_all(answer).await.is_err() {
            return;
        }
    }
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Delivery> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some(Delivery { path, headers, body: String::from_utf8(body).ok()? })
}

/// Fails the test unless the delivery is signed with `secret` by the rules of Standard Webhooks.
fn assert_signed(delivery: &Delivery, secret: &str) {
    let key = secret.strip_prefix("whsec_").unwrap_or_else(|| panic!("no whsec_: {secret}"));
    let key = STANDARD.decode(key).expect("a secret is Base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let (id, timestamp) = (delivery.header("webhook-id"), delivery.header("webhook-timestamp"));
    let signed = format!("{id}.{timestamp}.{}", delivery.body);
    let expected = STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes()));
    let expected = format!("v1,{expected}");
    assert!(
        delivery.header("webhook-signature").split(' ').any(|it| it == expected),
        "{delivery:?}"
    );
    let age = chrono::Utc::now().timestamp() - timestamp.parse::<i64>().expect("seconds");
    assert!((-5..120).contains(&age), "{delivery:?}");
}

async fn create(http: &Http, url: &str, filter: &str) -> Value {
    http.post_json(WEBHOOKS, &json!({"url": url, "filter": filter})).await.expect(201).json()
}

fn path(webhook: &Value) -> String {
    format!("{WEBHOOKS}/{}", webhook["id"].as_str().unwrap_or_else(|| panic!("no id: {webhook}")))
}

async fn patch(http: &Http, path: &str, body: &str) -> Answer {
    let headers = [("content-type", JSON)];
    http.request(Method::PATCH, path, &headers, body.to_owned()).await.expect("an answer")
}

async fn consumer(http: &Http, webhook: &Value) -> Option<Value> {
    let name = format!("webhook-{}", webhook["id"].as_str().expect("an id"));
    let list = http.get("/v1/consumers").await.expect(200).json();
    list["consumers"].as_array().expect("consumers").iter().find(|it| it["name"] == name).cloned()
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

fn without_secret(webhook: &Value) -> Value {
    let mut webhook = webhook.clone();
    webhook.as_object_mut().expect("an object").remove("secret");
    webhook
}

for_each_mode! {
    async fn a_webhook_is_created_read_paused_and_deleted(d: &Deployment) {
        let http = d.http();
        assert_eq!(http.get(WEBHOOKS).await.expect(200).json()["webhooks"], json!([]));
        let answer = http.post_json(WEBHOOKS, &json!({"url": NOWHERE, "filter": "agent.task.*.completed"})).await.expect(201);
        let made = answer.json();
        assert_eq!(members(&made), wire::names(["id", "url", "filter", "state", "reason", "created_at", "failures",
            "failing_since", "last_success", "last_error", "secret"]));
        assert_eq!((&made["url"], &made["filter"], &made["state"]), (&json!(NOWHERE), &json!("agent.task.*.completed"), &json!("active")));
        Uuid::parse_str(made["id"].as_str().expect("an id")).expect("a UUID");
        assert_eq!(answer.header("location"), Some(path(&made).as_str()));
        let secret = made["secret"].as_str().expect("a secret").strip_prefix("whsec_").expect("whsec_");
        assert!(STANDARD.decode(secret).is_ok_and(|it| it.len() >= 24), "{made}");
        // The secret is returned once, and never again.
        assert_eq!(http.get(&path(&made)).await.expect(200).json(), without_secret(&made));
        let list = http.get(WEBHOOKS).await.expect(200).json();
        assert_eq!(list["webhooks"], json!([without_secret(&made)]));
        let own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let given = http.post_json(WEBHOOKS, &json!({"url": NOWHERE, "filter": "agent.>", "secret": own})).await.expect(201).json();
        assert_eq!(given["secret"], json!(own));
        assert_ne!(given["id"], made["id"]);

        let now = consumer(http, &made).await.expect("a consumer of its own");
        assert_eq!((&now["kind"], &now["filter"]), (&json!("webhook"), &json!("agent.task.*.completed")), "{now}");
        for (body, state) in [(json!({"state": "paused"}), "paused"), (json!({"state": "paused"}), "paused"),
            (json!({"state": "active"}), "active"), (json!({"paused": true}), "paused"), (json!({"paused": false}), "active"),
            (json!({"paused": true}), "paused")] {
            let now = patch(http, &path(&made), &body.to_string()).await.expect(200).json();
            assert_eq!((&now["state"], &now["id"]), (&json!(state), &made["id"]), "{body}");
            assert_eq!(http.get(&path(&made)).await.expect(200).json()["state"], state);
            assert_eq!(http.get(&path(&given)).await.expect(200).json()["state"], "active");
        }
        d.agentbus().kill9();
        d.agentbus().restart().await;
        let kept = http.get(&path(&made)).await.expect(200).json();
        assert_eq!((&kept["state"], &kept["url"]), (&json!("paused"), &json!(NOWHERE)), "{kept}");

        let answer = http.delete(&path(&made)).await.expect(204);
        assert!(answer.bytes.is_empty());
        for answer in [http.get(&path(&made)).await, http.delete(&path(&made)).await,
            patch(http, &path(&made), "{\"state\":\"active\"}").await] {
            wire::problem_code(&answer, 404, "not_found");
        }
        eventually(SOON, "its consumer is deleted", async || consumer(http, &made).await.is_none().then_some(())).await;
        assert!(consumer(http, &given).await.is_some());
        let left = http.get(WEBHOOKS).await.expect(200).json();
        assert_eq!(left["webhooks"].as_array().map(Vec::len), Some(1), "{left}");
    }

    async fn a_wrong_webhook_gets_all_its_errors(d: &Deployment) {
        let http = d.http();
        for (body, expected) in [
            (json!({"url": "ftp://example.com", "filter": "a..b", "secret": "short", "extra": 1}), &["/url", "/filter", "/secret", "/extra"] as &[&str]),
            (json!({"url": 1, "filter": [], "secret": 5}), &["/url", "/filter", "/secret"]),
            (json!({"url": "/hook", "filter": ""}), &["/url", "/filter"]),
            (json!({"url": "not a url", "filter": "agent.>.x"}), &["/url", "/filter"]),
            (json!({"url": "", "filter": "agent.>"}), &["/url"]),
            (json!({"url": null, "filter": "agent. >"}), &["/url", "/filter"]),
            (json!({"url": NOWHERE, "filter": "agent.>", "secret": "whsec_AAAA"}), &["/secret"]),
            (json!({"url": NOWHERE, "filter": "agent.>", "state": "paused"}), &["/state"]),
            (json!({"filter": "agent.>"}), &["/url"]),
        ] {
            let problem = wire::problem(&http.post_json(WEBHOOKS, &body).await, 422);
            let expected = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "pointer"), expected, "{body}");
        }
        wire::problem_code(&http.post(WEBHOOKS, JSON, "{").await, 400, "malformed_json");
        wire::problem_code(&http.post(WEBHOOKS, "text/plain", "{}").await, 415, "unsupported_media_type");
        for body in ["[]", "1", "null"] {
            wire::refused(&http.post(WEBHOOKS, JSON, body).await, &[400, 422]);
        }
        assert_eq!(http.get(WEBHOOKS).await.expect(200).json()["webhooks"], json!([]));
        let made = create(http, NOWHERE, "agent.>").await;
        for (body, expected) in [
            (json!({"state": "gone"}), &["/state"] as &[&str]), (json!({"paused": "yes", "x": 1}), &["/paused", "/x"]),
            (json!({"state": 1, "secret": "x"}), &["/state", "/secret"]),
        ] {
            let problem = wire::problem(&patch(http, &path(&made), &body.to_string()).await, 422);
            let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "pointer"), expected, "{body}");
        }
        wire::problem(&patch(http, &path(&made), "{}").await, 422);
        wire::problem_code(&patch(http, &path(&made), "{").await, 400, "malformed_json");
        assert_eq!(http.get(&path(&made)).await.expect(200).json(), without_secret(&made));
        wire::problem_code(&http.get(&format!("{WEBHOOKS}/{}", Uuid::now_v7())).await, 404, "not_found");
        for id in ["x", "%00", "%ff", "a/b"] {
            wire::refused(&http.get(&format!("{WEBHOOKS}/{id}")).await, &[404, 422]);
        }
        let problem = wire::problem_code(&http.get(&format!("{WEBHOOKS}?limit=0&colour=1")).await, 422, "invalid_parameter");
        assert!(wire::named(&problem, "parameter").contains("colour"));
        for (method, path, allowed) in [(Method::DELETE, WEBHOOKS.to_owned(), "POST"), (Method::PUT, path(&made), "PATCH"), (Method::POST, path(&made), "DELETE")] {
            let answer = http.request(method, &path, &[], "").await.expect("an answer");
            wire::problem_code(&answer, 405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|it| it.contains(allowed)), "{path}");
        }
        wire::still_serves(d).await;
    }

    async fn nothing_is_delivered_to_a_private_address(d: &Deployment) {
        let http = d.http();
        let mut receiver = Receiver::start().await;
        for url in [receiver.url.as_str(), "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::ffff:127.0.0.1]/",
            "http://2130706433/", "http://0/"] {
            let answer = http.post_json(WEBHOOKS, &json!({"url": url, "filter": "agent.>"})).await;
            if answer.status != 201 {
                let problem = wire::problem(&answer, 422);
                assert_eq!(wire::named(&problem, "pointer"), wire::names(["/url"]), "{url}");
            }
        }
        // A name that resolves to such an address: either it is refused at once, or nothing is
        // delivered and the reason is reported.
        let by_name = json!({"url": receiver.url.replace("127.0.0.1", "localhost"), "filter": "agent.>"});
        let answer = http.post_json(WEBHOOKS, &by_name).await;
        http.post_json("/v1/messages?ack=committed", &wire::good()).await.expect(201);
        if answer.status == 201 {
            eventually(DELIVERED, "the reason is reported", async || {
                let now = http.get(&path(&answer.json())).await.expect(200).json();
                (!now["last_error"].is_null()).then_some(())
            }).await;
        } else {
            assert_eq!(wire::named(&wire::problem(&answer, 422), "pointer"), wire::names(["/url"]));
        }
        assert!(receiver.deliveries.try_recv().is_err(), "delivered to an address within");
    }
}

for_each_mode! {
    |builder| builder.env("WEBHOOK_ALLOW_PRIVATE", "true");

    async fn what_passes_the_filter_is_delivered_and_signed(d: &Deployment) {
        let http = d.http();
        let (mut all, mut some) = (Receiver::start().await, Receiver::start().await);
        let to_all = create(http, &all.url, "agent.>").await;
        let to_some = create(http, &some.url, "agent.task.*.completed").await;
        let messages: Vec<Value> = (0..20).map(|n| match n % 4 {
            0 => json!({"kind": "task", "type": "completed", "task_id": "t", "sender_id": "ann", "content": "é 🚀"}),
            1 => json!({"kind": "task", "type": "started", "task_id": "t", "sender_id": "ann"}),
            _ => wire::good(),
        }).collect();
        let seqs = streams::publish(http, &messages).await;
        wire::committed(http, seqs[19]).await;
        let log = wire::pages(http, "").await;
        for (receiver, webhook, expected) in [(&mut all, &to_all, log.clone()), (&mut some, &to_some, wire::pages(http, "type=completed").await)] {
            let mut got = Vec::new();
            while got.len() < expected.len() {
                let delivery = receiver.next().await;
                assert_signed(&delivery, webhook["secret"].as_str().expect("a secret"));
                assert_eq!(delivery.path, "/hook");
                assert!(delivery.header("content-type").starts_with(JSON), "{delivery:?}");
                got.push((delivery.json()["seq"].as_u64().expect("a message"), delivery.header("webhook-id").to_owned(), delivery.body));
            }
            got.sort();
            let bodies: Vec<&String> = got.iter().map(|it| &it.2).collect();
            assert_eq!(bodies, expected.iter().collect::<Vec<_>>());
            let ids: BTreeSet<&String> = got.iter().map(|it| &it.1).collect();
            assert_eq!(ids.len(), got.len(), "an id names one message");
        }
        eventually(SOON, "its success is reported", async || {
            let now = http.get(&path(&to_all)).await.expect(200).json();
            (now["last_success"].is_string() && now["failures"] == 0).then_some(())
        }).await;
        eventually(SOON, "its consumer has done all", async || {
            let now = consumer(http, &to_all).await?;
            (now["pending"] == 0 && now["in_flight"] == 0).then_some(())
        }).await;
        assert!(all.deliveries.try_recv().is_err() && some.deliveries.try_recv().is_err(), "delivered twice");
    }

    async fn a_paused_webhook_gets_what_it_missed_when_it_is_resumed(d: &Deployment) {
        let http = d.http();
        let (mut receiver, mut other) = (Receiver::start().await, Receiver::start().await);
        let webhook = create(http, &receiver.url, "agent.>").await;
        create(http, &other.url, "agent.>").await;
        let first = streams::publish(http, &[wire::good()]).await[0];
        assert_eq!(receiver.next().await.json()["seq"], json!(first));
        patch(http, &path(&webhook), "{\"state\":\"paused\"}").await.expect(200);
        let seqs = streams::publish(http, &vec![wire::good(); 5]).await;
        // Once the other receiver has got them all, a delivery to the paused one would have come too.
        let mut got = BTreeSet::new();
        while got.len() < 6 {
            got.insert(other.next().await.json()["seq"].as_u64().expect("seq"));
        }
        assert_eq!(got, seqs.iter().copied().chain([first]).collect());
        assert!(receiver.deliveries.try_recv().is_err(), "delivered while paused");
        patch(http, &path(&webhook), "{\"state\":\"active\"}").await.expect(200);
        let mut got = BTreeSet::new();
        while got.len() < 5 {
            got.insert(receiver.next().await.json()["seq"].as_u64().expect("seq"));
        }
        assert_eq!(got, seqs.into_iter().collect());
        http.delete(&path(&webhook)).await.expect(204);
        streams::publish(http, &[wire::good()]).await;
        other.next().await;
        assert!(receiver.deliveries.try_recv().is_err(), "delivered after it was deleted");
    }
}

#[tokio::test]
async fn a_webhook_delivers_through_any_server_that_is_left() {
    let d = Deployment::tuned(Mode::Nats, |it| it.env("WEBHOOK_ALLOW_PRIVATE", "true")).await;
    let second = d.second_server().await;
    let mut receiver = Receiver::start().await;
    create(d.http(), &receiver.url, "agent.>").await;
    for (server, leave) in [(d.http(), true), (&second.http(), false)] {
        let seqs = streams::publish(server, &vec![wire::good(); 5]).await;
        let mut got = BTreeSet::new();
        while got.len() < 5 {
            got.insert(receiver.next().await.json()["seq"].as_u64().expect("seq"));
        }
        assert_eq!(got, seqs.into_iter().collect());
        if leave {
            d.agentbus().terminate().await;
        }
    }
}
