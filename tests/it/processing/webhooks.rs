//! Webhooks (contract, section 10): what is published is delivered, unchanged and signed, by any server until
//! the receiver accepts it, and never to a private address.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::receiver::{Got, Receiver, Reply, seqs};
use crate::support::wire::{self, SOON};
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, for_each_mode, programs};
use reqwest::Method;
use serde_json::{Value, json};

const WEBHOOKS: &str = "/v1/webhooks";
/// Time limit for messages in flight when a server ended: they are redelivered after the ack wait of 30 s at
/// the latest.
const AGAIN: Duration = Duration::from_secs(90);
/// The members of a webhook in a response, without its secret.
const MEMBERS: [&str; 10] = [
    "created_at",
    "failing_since",
    "failures",
    "filter",
    "id",
    "last_error",
    "last_success",
    "reason",
    "state",
    "url",
];

/// Creates a webhook; returns the response.
async fn make(http: &Http, body: Value) -> Value {
    http.post_json(WEBHOOKS, &body).await.expect(201).json()
}

/// Creates a webhook for all that [`say`] publishes; returns its path.
async fn hook(http: &Http, receiver: &Receiver) -> String {
    path(&make(http, json!({"url": receiver.url(), "filter": "agent.message.>"})).await)
}

fn path(made: &Value) -> String {
    format!("{WEBHOOKS}/{}", made["id"].as_str().expect("id"))
}

/// The name of the webhook's consumer.
fn source(path: &str) -> String {
    path.replace("/v1/webhooks/", "webhook-")
}

async fn shown(http: &Http, path: &str) -> Value {
    http.get(path).await.expect(200).json()
}

/// Waits until the webhook has this state, and returns it.
async fn becomes(http: &Http, path: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, what, async || Some(shown(http, path).await).filter(|it| so(it))).await
}

async fn patch(http: &Http, path: &str, body: Value) -> crate::support::Answer {
    let headers = [("content-type", "application/json")];
    http.request(Method::PATCH, path, &headers, body.to_string()).await.expect("an answer")
}

/// Publishes one message; returns its sequence.
async fn say(http: &Http, type_: &str) -> u64 {
    let message =
        json!({"kind": "message", "type": type_, "sender_id": "ann", "content": "é \u{1f680}"});
    http.post_json("/v1/messages", &message).await.expect(201).json()["seq"].as_u64().expect("seq")
}

for_each_mode! {
    |builder| builder.env("WEBHOOK_ALLOW_PRIVATE", "true").env("WEBHOOK_BACKOFF_S", "1,0");

    async fn what_is_published_from_then_on_is_delivered_unchanged_and_signed(d: &Deployment) {
        let receiver = Receiver::start().await;
        say(d.http(), "before").await;
        let answer = d.http().post_json(WEBHOOKS, &json!({"url": receiver.url()})).await.expect(201);
        let made = answer.json();
        assert_eq!(answer.header("location"), Some(path(&made).as_str()));
        let secret = made["secret"].as_str().expect("secret").to_owned();
        assert!(secret.starts_with("whsec_") && (38..=94).contains(&secret.len()), "{secret}");
        assert_eq!((&made["filter"], &made["state"], &made["failures"]), (&json!("agent.>"), &json!("active"), &json!(0)));
        let members = |it: &Value| it.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
        let expected: BTreeSet<String> = MEMBERS.map(str::to_owned).into();
        assert_eq!(members(&shown(d.http(), &path(&made)).await), expected);

        let ack = d.http().post_json("/v1/messages?ack=committed", &wire::good()).await.expect(201).json();
        let got = receiver.take(1, SOON).await.remove(0);
        let id = ack["id"].as_str().expect("id");
        let message = d.http().get(&format!("/v1/messages/{id}")).await.expect(200);
        assert_eq!(got.body, message.bytes, "the message as history has it");
        assert_eq!((got.uri.as_str(), got.header("content-type")), ("/hook?a=b", "application/json"));
        assert_eq!(got.header("webhook-id"), format!("{id}_{}", ack["seq"]));
        verify(&secret, &got);
        let after = becomes(d.http(), &path(&made), "a success is recorded", |it| !it["last_success"].is_null()).await;
        assert!(after["last_error"].is_null() && after["failing_since"].is_null(), "{after}");
        let list = d.http().get(WEBHOOKS).await.expect(200).json();
        assert_eq!(list, json!({"webhooks": [after]}));
        assert!(!d.agentbus().log().contains(&secret[6..]), "the secret is in the log");
    }

    async fn only_what_its_filter_passes_is_delivered(d: &Deployment) {
        let receiver = Receiver::start().await;
        let body = json!({"url": receiver.url(), "filter": "agent.message.*.wanted"});
        assert_eq!(make(d.http(), body).await["filter"], "agent.message.*.wanted");
        say(d.http(), "other").await;
        let wanted = say(d.http(), "wanted").await;
        say(d.http(), "other").await;
        let last = say(d.http(), "wanted").await;
        assert_eq!(seqs(&receiver.take(2, SOON).await), [wanted, last]);
    }

    async fn a_failed_delivery_is_retried_under_the_same_id(d: &Deployment) {
        let receiver = Receiver::start().await;
        let made = make(d.http(), json!({"url": receiver.url()})).await;
        receiver.next([Reply::Status(500), Reply::Status(404)]);
        say(d.http(), "note").await;
        let got = receiver.take(3, SOON).await;
        let ids: BTreeSet<&str> = got.iter().map(|it| it.header("webhook-id")).collect();
        assert_eq!(ids.len(), 1, "{got:?}");
        got.iter().for_each(|it| verify(made["secret"].as_str().expect("secret"), it));
        assert!(got[1].at - got[0].at >= Duration::from_millis(750), "no backoff");
        let healed = becomes(d.http(), &path(&made), "failures end", |it| it["failures"] == 0 && !it["last_success"].is_null()).await;
        assert_eq!((&healed["failing_since"], &healed["state"]), (&Value::Null, &json!("active")));
    }

    async fn after_the_last_attempt_it_is_a_dead_letter_that_can_be_redriven(d: &Deployment) {
        let receiver = Receiver::start().await;
        let path = hook(d.http(), &receiver).await;
        receiver.always(Reply::Status(500));
        let seq = say(d.http(), "note").await;
        let letters = format!("/v1/dead-letters?source={}", source(&path));
        let letter = eventually(SOON, "a dead letter", async || {
            Some(d.http().get(&letters).await.expect(200).json()["dead_letters"][0].clone()).filter(|it| !it.is_null())
        })
        .await;
        assert_eq!((&letter["seq"], &letter["message"]["seq"]), (&json!(seq), &json!(seq)));
        let attempts = letter["attempts"].as_array().expect("attempts");
        let errors: Vec<&str> = attempts.iter().filter_map(|it| it["error"].as_str()).collect();
        assert_eq!(errors, ["the receiver answered 500 Internal Server Error"; 3]);
        assert_eq!(receiver.take(3, SOON).await.len(), 3);
        let failing = shown(d.http(), &path).await;
        assert_eq!((&failing["failures"], &failing["state"]), (&json!(3), &json!("active")));
        receiver.always(Reply::Status(204));
        let redrive = format!("/v1/dead-letters/{}/redrive", letter["id"].as_str().expect("id"));
        d.http().post_json(&redrive, &json!({})).await.expect(200);
        assert_eq!(seqs(&receiver.take(4, SOON).await), [seq]);
    }

    async fn status_410_pauses_at_once_and_resuming_continues_where_it_stopped(d: &Deployment) {
        let receiver = Receiver::start().await;
        let path = hook(d.http(), &receiver).await;
        receiver.next([Reply::Status(410)]);
        let first = say(d.http(), "note").await;
        let paused = becomes(d.http(), &path, "it is paused", |it| it["state"] == "paused").await;
        assert!(paused["reason"].as_str().is_some_and(|reason| reason.contains("410")), "{paused}");
        receiver.take(1, SOON).await;
        still(d.http(), &receiver, 1).await;
        let second = say(d.http(), "note").await;
        still(d.http(), &receiver, 1).await;
        let resumed = patch(d.http(), &path, json!({"state": "active"})).await.expect(200).json();
        assert_eq!((&resumed["state"], &resumed["reason"], &resumed["failures"]), (&json!("active"), &Value::Null, &json!(0)));
        assert_eq!(seqs(&receiver.take(3, SOON).await), [first, second]);
    }

    async fn retry_after_is_respected(d: &Deployment) {
        let receiver = Receiver::start().await;
        hook(d.http(), &receiver).await;
        receiver.next([429, 503].map(|status| Reply::With(status, "retry-after", "2".to_owned())));
        say(d.http(), "note").await;
        let got = receiver.take(3, SOON).await;
        for pair in got.windows(2) {
            assert!(pair[1].at - pair[0].at >= Duration::from_millis(1_900), "{got:?}");
        }
    }

    async fn a_redirect_is_not_followed(d: &Deployment) {
        let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
        let path = hook(d.http(), &receiver).await;
        receiver.next([301, 302, 307].map(|status| Reply::With(status, "location", elsewhere.url())));
        say(d.http(), "note").await;
        receiver.take(3, SOON).await;
        let failing = becomes(d.http(), &path, "it fails", |it| it["failures"] == 3).await;
        assert!(failing["last_error"].as_str().is_some_and(|it| it.contains("redirect")), "{failing}");
        assert!(elsewhere.got().is_empty());
    }

    async fn what_is_published_during_a_pause_is_delivered_after_it(d: &Deployment) {
        let receiver = Receiver::start().await;
        let path = hook(d.http(), &receiver).await;
        say(d.http(), "note").await;
        receiver.take(1, SOON).await;
        let paused = patch(d.http(), &path, json!({"paused": true})).await.expect(200).json();
        assert_eq!(paused["state"], "paused");
        assert!(paused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{paused}");
        still(d.http(), &receiver, 1).await;
        let waits = [say(d.http(), "note").await, say(d.http(), "note").await];
        still(d.http(), &receiver, 1).await;
        d.agentbus().restart().await;
        assert_eq!(shown(d.http(), &path).await["reason"], paused["reason"]);
        still(d.http(), &receiver, 1).await;
        patch(d.http(), &path, json!({"paused": false})).await.expect(200);
        assert_eq!(seqs(&receiver.take(3, AGAIN).await)[1..], waits);
    }

    async fn nothing_is_lost_when_the_server_is_killed_in_a_delivery(d: &Deployment) {
        let receiver = Receiver::start().await;
        hook(d.http(), &receiver).await;
        receiver.always(Reply::Silence);
        let mut sent = vec![say(d.http(), "note").await, say(d.http(), "note").await];
        receiver.take(2, SOON).await;
        d.agentbus().kill9();
        receiver.always(Reply::Status(200));
        d.agentbus().restart().await;
        sent.push(say(d.http(), "note").await);
        eventually(AGAIN, "everything has come", async || {
            (receiver.got().len() >= 5 && seqs(&receiver.got()) == sent).then_some(())
        })
        .await;
    }

    async fn a_removed_webhook_gets_nothing_more(d: &Deployment) {
        let (receiver, other) = (Receiver::start().await, Receiver::start().await);
        let path = hook(d.http(), &receiver).await;
        hook(d.http(), &other).await;
        say(d.http(), "note").await;
        receiver.take(1, SOON).await;
        d.http().delete(&path).await.expect(204);
        for answer in [d.http().get(&path).await, d.http().delete(&path).await, patch(d.http(), &path, json!({"paused": true})).await] {
            wire::problem_code(&answer, 404, "not_found");
        }
        let name = source(&path);
        eventually(SOON, "its consumer is deleted", async || {
            let consumers = d.http().get("/v1/consumers").await.expect(200).text();
            (!consumers.contains(&name)).then_some(())
        })
        .await;
        still(d.http(), &receiver, 1).await;
        say(d.http(), "note").await;
        other.take(2, SOON).await;
        still(d.http(), &receiver, 1).await;
    }

    async fn every_error_of_a_body_is_named_at_once(d: &Deployment) {
        let body = json!({"url": "ftp://example.com", "filter": "a..b", "secret": "whsec_x", "id": "1"});
        let problem = wire::problem_code(&d.http().post_json(WEBHOOKS, &body).await, 422, "invalid_body");
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/url", "/filter", "/secret", "/id"]));
        let problem = wire::problem(&d.http().post_json(WEBHOOKS, &json!({})).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/url"]));
        wire::problem_code(&d.http().post(WEBHOOKS, "application/json", "{").await, 400, "malformed_json");
        wire::problem(&d.http().post(WEBHOOKS, "text/plain", "{}").await, 415);
        wire::problem(&d.http().get(&format!("{WEBHOOKS}?x=1")).await, 422);
        wire::problem_code(&d.http().get(&format!("{WEBHOOKS}/nonsense")).await, 404, "not_found");
        let answer = d.http().request(Method::PUT, WEBHOOKS, &[], "").await.expect("an answer");
        wire::problem(&answer, 405);
        assert_eq!(d.http().get(WEBHOOKS).await.expect(200).json(), json!({"webhooks": []}));
        let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let made = make(d.http(), json!({"url": "https://8.8.8.8/", "secret": given})).await;
        assert_eq!(made["secret"], given);
        for bad in [json!({}), json!({"state": "off"}), json!({"url": "https://example.com"}), json!({"state": "active", "paused": true})] {
            wire::problem_code(&patch(d.http(), &path(&made), bad).await, 422, "invalid_body");
        }
    }
}

/// Fails the test unless exactly this many deliveries come, also after another webhook has got its delivery.
async fn still(http: &Http, receiver: &Receiver, count: usize) {
    probe(http).await;
    assert_eq!(receiver.got().len(), count, "{:?}", receiver.got());
}

/// Waits until a new webhook has got a delivery. An immediate delivery to another webhook has come by then.
async fn probe(http: &Http) {
    let other = Receiver::start().await;
    let body = json!({"url": other.url(), "filter": "agent.status.probe.>"});
    let path = path(&make(http, body).await);
    let status = json!({"kind": "status", "type": "probe", "sender_id": "probe"});
    http.post_json("/v1/messages", &status).await.expect(201);
    other.take(1, SOON).await;
    http.delete(&path).await.expect(204);
}

/// Fails the test unless the library of Standard Webhooks accepts the delivery, and refuses it with another
/// body.
fn verify(secret: &str, got: &Got) {
    const SCRIPT: &str = "
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
delivery = json.load(sys.stdin)
webhook = Webhook(delivery['secret'])
webhook.verify(delivery['body'], delivery['headers'])
try:
    webhook.verify(delivery['body'] + ' ', delivery['headers'])
except WebhookVerificationError:
    sys.exit(0)
sys.exit('another body passes')
";
    let headers: serde_json::Map<String, Value> = got
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").into()))
        .collect();
    let body = std::str::from_utf8(&got.body).expect("UTF-8");
    let delivery = json!({"secret": secret, "headers": headers, "body": body});
    let mut python = Command::new(programs::python())
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", programs::standardwebhooks())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    python
        .stdin
        .take()
        .expect("piped")
        .write_all(delivery.to_string().as_bytes())
        .expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn private_addresses_are_refused_when_a_webhook_is_created() {
    let d = Deployment::start(Mode::MemorySqlite).await;
    for url in [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/",
        "http://0/",
    ] {
        let problem = wire::problem(&d.http().post_json(WEBHOOKS, &json!({"url": url})).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/url"]), "{url}");
    }
    assert_eq!(d.http().get(WEBHOOKS).await.expect(200).json(), json!({"webhooks": []}));
}

/// Either private addresses were allowed when the webhooks were created, or their name resolved to other
/// addresses then.
#[tokio::test]
async fn private_addresses_are_refused_when_a_delivery_is_made() {
    let receiver = Receiver::start().await;
    let open = Agentbus::builder().env("WEBHOOK_ALLOW_PRIVATE", "true").start().await;
    let named = format!("http://localhost:{}/", receiver.port());
    let mut paths = Vec::new();
    for url in [receiver.url(), named] {
        paths.push(path(&make(&open.http(), json!({"url": url})).await));
    }
    open.terminate().await;
    let data = open.data_dir().display().to_string();
    let closed =
        Agentbus::builder().env("DATA_DIR", &data).env("WEBHOOK_BACKOFF_S", "0").start().await;
    say(&closed.http(), "note").await;
    for path in paths {
        let failing = becomes(&closed.http(), &path, "it fails", |it| it["failures"] == 2).await;
        let error = failing["last_error"].as_str().expect("an error");
        assert!(error.contains("WEBHOOK_ALLOW_PRIVATE"), "{error}");
    }
    assert!(receiver.got().is_empty());
}

/// Both servers reach the receiver; only the one that trusts its certificate delivers.
#[tokio::test]
async fn a_receiver_with_tls_must_be_trusted() {
    let (receiver, certificate) = Receiver::start_tls().await;
    let folder = crate::support::folder::Folder::new("authority");
    std::fs::write(folder.join("trusted.pem"), certificate).expect("write a file");
    let trusted = folder.join("trusted.pem").display().to_string();
    let body = json!({"url": format!("https://localhost:{}/", receiver.port())});
    let builder = || Agentbus::builder().env("WEBHOOK_ALLOW_PRIVATE", "true");
    let wary = builder().start().await;
    let path = path(&make(&wary.http(), body.clone()).await);
    say(&wary.http(), "note").await;
    let failing = becomes(&wary.http(), &path, "it fails", |it| it["failures"] == 1).await;
    assert!(
        failing["last_error"].as_str().is_some_and(|it| it.contains("certificate")),
        "{failing}"
    );
    assert!(receiver.got().is_empty());
    let trusting = builder().env("SSL_CERT_FILE", &trusted).start().await;
    make(&trusting.http(), body).await;
    say(&trusting.http(), "note").await;
    receiver.take(1, SOON).await;
}

#[tokio::test]
async fn servers_share_the_deliveries_and_see_each_others_changes() {
    let tune = |it: crate::support::agentbus::Builder| {
        it.env("WEBHOOK_ALLOW_PRIVATE", "true").env("WEBHOOK_BACKOFF_S", "0")
    };
    let d = Deployment::tuned(Mode::Nats, tune).await;
    let second = d.second_server().await;
    let receiver = Receiver::start().await;
    let path = hook(d.http(), &receiver).await;
    let (mut sent, another) = (Vec::new(), second.http());
    for _ in 0..20 {
        sent.push(say(d.http(), "note").await);
        sent.push(say(&another, "note").await);
    }
    assert_eq!(seqs(&receiver.take(40, SOON).await), sent);
    // Paused through one server, resumed through the other. Messages published before both have noticed
    // are delivered.
    patch(&second.http(), &path, json!({"paused": true})).await.expect(200);
    eventually(SOON, "both have stopped", async || {
        let before = receiver.got().len();
        sent.push(say(d.http(), "note").await);
        probe(d.http()).await;
        (receiver.got().len() == before).then_some(())
    })
    .await;
    patch(d.http(), &path, json!({"paused": false})).await.expect(200);
    assert_eq!(seqs(&receiver.take(sent.len(), SOON).await), sent);
    // The server that created the webhook ends; the other delivers alone.
    d.agentbus().terminate().await;
    sent.push(say(&second.http(), "note").await);
    assert_eq!(seqs(&receiver.take(sent.len(), SOON).await), sent);
    second.http().delete(&path).await.expect(204);
    d.agentbus().restart().await;
    wire::problem(&d.http().get(&path).await, 404);
    say(d.http(), "note").await;
    still(&second.http(), &receiver, sent.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_creates_shows_pauses_and_removes_them() {
    let d = Deployment::start(Mode::MemorySqlite).await;
    let blocking = |words: &[&str], input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentbus"))
            .arg("webhooks")
            .args(words)
            .env_clear()
            .env("AGENTBUS_URL", d.bus())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        // A command that refuses its arguments reads nothing.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let run =
        async |words: &[&str], input: &str| tokio::task::block_in_place(|| blocking(words, input));
    let done = async |words: &[&str], input: &str| {
        let (code, stdout, error) = run(words, input).await;
        assert_eq!(code, Some(0), "{words:?}: {error}");
        stdout
    };
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let add = ["add", "https://8.8.8.8/hook", "--filter", "agent.task.>", "--secret", "-"];
    let made: Value = serde_json::from_str(&done(&add, given).await).expect("JSON");
    assert_eq!((&made["secret"], &made["filter"]), (&json!(given), &json!("agent.task.>")));
    let id = made["id"].as_str().expect("id");
    let paused: Value = serde_json::from_str(&done(&["pause", id], "").await).expect("JSON");
    assert_eq!(paused["state"], "paused");
    let list = done(&["list", "--format", "text"], "").await;
    assert!(list.starts_with("ID ") && list.contains(id) && list.contains("paused"), "{list}");
    assert!(!list.contains(given));
    let resumed: Value = serde_json::from_str(&done(&["resume", id], "").await).expect("JSON");
    assert_eq!(resumed, shown(d.http(), &path(&made)).await);
    assert_eq!(done(&["remove", id], "").await, "");
    assert_eq!(done(&["list"], "").await, "");
    let (code, _, error) = run(&["add", "http://127.0.0.1/"], "").await;
    assert_eq!(code, Some(1));
    assert!(error.contains("/url") && error.contains("WEBHOOK_ALLOW_PRIVATE"), "{error}");
}

#[tokio::test]
async fn the_number_of_webhooks_is_limited() {
    let d = Deployment::start(Mode::MemorySqlite).await;
    let body = json!({"url": "https://8.8.8.8/", "filter": "agent.status.nobody.>"});
    for _ in 0..100 {
        make(d.http(), body.clone()).await;
    }
    let refused = d.http().post_json(WEBHOOKS, &body).await;
    wire::problem_code(&refused, 409, "too_many_webhooks");
    let all = d.http().get(WEBHOOKS).await.expect(200).json();
    let all = all["webhooks"].as_array().expect("webhooks");
    assert_eq!(all.len(), 100);
    d.http().delete(&path(&all[0])).await.expect(204);
    make(d.http(), body).await;
}
