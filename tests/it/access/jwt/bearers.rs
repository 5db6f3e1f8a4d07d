//! What the bearers of tokens may do, each for itself: leases, limits, sessions, streams, keys, webhooks.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Corp, ISSUER, me, message};
use crate::access::replies::ask;
use crate::support::jwt::claims;
use crate::support::{Http, Mode, eventually, within};

const SOON: Duration = Duration::from_secs(20);
/// How long a token lasts that ends in a test, in seconds: longer than a busy machine takes to open everything with it.
const LIFE: i64 = 12;

/// Claims that end in so many seconds.
fn ending(subject: &str, grants: &Value, seconds: i64) -> Value {
    let mut claims = claims(ISSUER, subject, grants);
    claims["exp"] = json!((Utc::now() + TimeDelta::seconds(seconds)).timestamp());
    claims
}

async fn lease(http: &Http) -> String {
    let body = json!({"wait_s": 20, "max": 1});
    let leased = http.post_json("/v1/queues/builds/lease", &body).await.expect(200).json();
    leased["jobs"][0]["lease_token"].as_str().expect("a token").to_owned()
}

async fn settle(http: &Http, token: &str, action: &str) -> u16 {
    http.post_json(&format!("/v1/leases/{token}/{action}"), &json!({})).await.status
}

/// Leases on one server; the subject, and nobody else of the same issuer, ends them on another.
async fn a_lease_belongs_to_its_subject(corp: &Corp, there: &Http) {
    let grants = json!({"work": ["builds"], "enqueue": ["builds"]});
    let (ann, bob) = (corp.client("ann", &grants), corp.client("bob", &grants));
    let away = |subject| there.with_key(&corp.token(subject, &grants));
    for _ in 0..2 {
        let job = json!({"type": "build", "payload": 1});
        ann.post_json("/v1/queues/builds/jobs", &job).await.expect(201);
    }
    let token = lease(&ann).await;
    for action in ["ack", "nack", "extend", "fail"] {
        assert_eq!(settle(&bob, &token, action).await, 403, "{action}");
        assert_eq!(settle(&away("bob"), &token, action).await, 403, "{action}");
    }
    let batch = json!([{"lease_token": token, "action": "ack"}]);
    let batch = bob.post_json("/v1/leases/settle", &batch).await.expect(200).json();
    assert_eq!(batch["results"][0]["status"], 403, "{batch}");
    // A key whose subject looks alike, and the same subject with another token.
    let key = corp.secured.key(grants.clone()).await;
    assert_eq!(settle(&key.http, &token, "ack").await, 403);
    assert_eq!(settle(&away("ann"), &token, "ack").await, 200);
    let token = lease(&bob).await;
    assert_eq!(settle(&ann, &token, "ack").await, 403);
    assert_eq!(settle(&bob, &token, "ack").await, 200);
}

#[tokio::test]
async fn a_lease_belongs_to_its_subject_memory() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    a_lease_belongs_to_its_subject(&corp, corp.secured.stranger()).await;
}

#[tokio::test]
async fn a_lease_belongs_to_its_subject_on_every_server() {
    let corp = Corp::start(Mode::Nats, "").await;
    let second = corp.secured.deployment.second_server().await;
    let there = second.http();
    a_lease_belongs_to_its_subject(&corp, &there).await;
    // A session that one server has opened is one on every server.
    let ann = corp.client("ann", &json!({"as": ["ann"], "read": ["agent.task.>"]}));
    let cookie = log_in(&ann).await;
    let shown = there.request(Method::GET, "/v1/me", &[("cookie", &cookie)], "").await;
    assert_eq!(shown.expect("an answer").expect(200).json(), me(&ann).await);
}

async fn log_in(http: &Http) -> String {
    let answer = http.request(Method::POST, "/v1/session", &[], "").await.expect("an answer");
    let answer = answer.expect(204);
    let cookie = answer.header("set-cookie").expect("a cookie");
    let age = cookie.split("Max-Age=").nth(1).and_then(|rest| rest.split(';').next());
    let age: u64 = age.and_then(|age| age.parse().ok()).expect("a Max-Age");
    assert!(age <= 600, "no longer than the token: {cookie}");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn the_subject_is_a_sender_where_the_issuer_says_so() {
    let more = "sub_as = true\nkind = \"human\"\nmost = { publish = [\"agent.message.>\"], read = [\"agent.>\"] }";
    let corp = Corp::start(Mode::MemorySqlite, more).await;
    let ann = corp.client("ann", &json!({"as": ["root"], "publish": ["agent.>"], "can": ["keys"]}));
    let shown = me(&ann).await;
    assert_eq!(shown["grants"], json!({"as": ["ann"], "publish": ["agent.message.>"]}));
    assert_eq!(shown["kind"], "human");
    let posted = ann.post_json("/v1/messages", &json!({"kind": "message", "type": "note"})).await;
    let id = posted.expect(201).json()["id"].as_str().expect("an id").to_owned();
    let stored = corp.secured.root.get(&format!("/v1/messages/{id}")).await.expect(200).json();
    assert_eq!((&stored["sender_id"], &stored["key_id"]), (&json!("ann"), &json!("jwt-corp")));
    let refused = ann.post_json("/v1/messages", &message("bob")).await.expect(403).json();
    assert_eq!(refused["needs"], "as bob");
    // A person's answer, since the issuer's tokens are people's.
    let agent = json!({"as": ["human"], "publish": ["agent.message.>"]});
    let agent = corp.secured.key(agent).await;
    let reply = ask(&corp.secured.root, "human", &[(&agent.http, "human"), (&ann, "ann")]).await;
    assert_eq!((&reply["sender_id"], &reply["key_id"]), (&json!("ann"), &json!("jwt-corp")));
}

#[tokio::test]
async fn the_limits_of_an_issuer_are_each_subjects() {
    let corp = Corp::start(Mode::MemorySqlite, "limits = { streams = 1 }").await;
    let grants = json!({"read": ["agent.>"]});
    let mut first = corp.client("ann", &grants).stream("", None).await;
    first.expect_ready().await;
    // Another token, since it differs in its grants.
    let more = json!({"read": ["agent.>"], "can": ["observe"]});
    let second = corp.client("ann", &more).request(Method::GET, "/v1/stream", &[], "").await;
    second.expect("an answer").expect(429);
    corp.client("bob", &grants).stream("", None).await.expect_ready().await;
}

#[tokio::test]
async fn everything_that_a_token_opened_ends_with_it() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let grants = json!({"as": ["ann"], "read": ["agent.>"]});
    let stranger = corp.secured.stranger();
    let ann = stranger.with_key(&corp.key.token(&ending("ann", &grants, LIFE)));
    let cookie = log_in(&ann).await;
    let ticket = ann.post_json("/v1/tickets", &json!({"task": ["t1"]})).await.expect(201).json();
    let ticket = format!("ticket={}", ticket["ticket"].as_str().expect("a ticket"));
    let shown = stranger.request(Method::GET, "/v1/me", &[("cookie", &cookie)], "").await;
    assert_eq!(shown.expect("an answer").expect(200).json(), me(&ann).await);
    let mut streams = [ann.stream("", None).await, stranger.stream(&ticket, None).await];
    for stream in &mut streams {
        stream.expect_ready().await;
    }
    let waiting = {
        let ann = ann.clone();
        tokio::spawn(async move { ann.get("/v1/agents/ann/inbox?wait=60").await })
    };
    for stream in &mut streams {
        let end = stream.expect_end(SOON).await;
        let denied = end.iter().find(|frame| frame.is("denied")).expect("a last event");
        assert_eq!(denied.json()["code"], "expired");
    }
    assert_eq!(within(SOON, "the wait ends", waiting).await.expect("it ends").status, 401);
    let refused = ann.get("/v1/me").await.expect(401).json();
    assert!(
        refused["detail"].as_str().is_some_and(|detail| detail.contains("expired")),
        "{refused}"
    );
    let shown = stranger.request(Method::GET, "/v1/me", &[("cookie", &cookie)], "").await;
    shown.expect("an answer").expect(401);
    let late = stranger.try_stream(&ticket, None).await.expect("an answer");
    assert_eq!(late.err().map(|answer| answer.status), Some(401));
}

#[tokio::test]
async fn a_session_ends_when_its_issuer_is_taken_out_of_the_file() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let grants = json!({"as": ["ann"], "read": ["agent.>"]});
    let cookie = log_in(&corp.client("ann", &grants)).await;
    let stranger = corp.secured.stranger();
    let get = async || {
        let answer = stranger.request(Method::GET, "/v1/me", &[("cookie", &cookie)], "").await;
        answer.expect("an answer")
    };
    get().await.expect(200);
    let file = corp.folder.join("issuers.toml");
    let write = |text: String| std::fs::write(&file, text).expect("the file is written");
    // Less than before holds for sessions, too.
    write(super::corp(&corp.jwks, "most = { read = [\"agent.task.>\"] }"));
    corp.secured.deployment.agentbus().restart().await;
    assert_eq!(get().await.expect(200).json()["grants"], json!({"read": ["agent.task.>"]}));
    write(super::corp(&corp.jwks, "").replace("corp", "other"));
    corp.secured.deployment.agentbus().restart().await;
    get().await.expect(401);
}

#[tokio::test]
async fn a_token_makes_nothing_that_outlives_it() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let ann = corp.client("ann", &json!({"read": ["agent.task.>"], "can": ["keys", "webhooks"]}));
    let key = |grants: Value, minutes: Option<i64>| {
        let end = minutes.map(|minutes| (Utc::now() + TimeDelta::minutes(minutes)).to_rfc3339());
        let mut body = json!({"name": "made", "grants": grants});
        if let Some(end) = end {
            body["expires_at"] = json!(end);
        }
        body
    };
    let needs = async |body: Value| {
        let refused = ann.post_json("/v1/keys", &body).await.expect(403).json();
        refused["needs"].as_str().expect("a grant").to_owned()
    };
    let within_own = json!({"read": ["agent.task.t1.>"]});
    assert_eq!(needs(key(within_own.clone(), None)).await, "a key that lives as long");
    assert_eq!(needs(key(within_own.clone(), Some(60))).await, "a key that lives as long");
    assert_eq!(needs(key(json!({"read": ["agent.>"]}), Some(5))).await, "read agent.>");
    let mut human = key(within_own.clone(), Some(5));
    human["kind"] = json!("human");
    assert_eq!(needs(human).await, "kind human");
    let made = ann.post_json("/v1/keys", &key(within_own, Some(5))).await.expect(201).json();
    assert_eq!(made["created_by"], "jwt-corp/ann");
    // Nobody changes the issuer by the routes of keys.
    ann.delete("/v1/keys/jwt-corp").await.expect(404);
    let hook = json!({"url": "https://example.com/"});
    let refused = ann.post_json("/v1/webhooks", &hook).await.expect(403).json();
    assert!(refused["needs"].as_str().is_some_and(|needs| needs.contains("a key")), "{refused}");
    eventually(SOON, "the audit log names who it was", async || {
        let page = corp.secured.root.get("/v1/audit?limit=100").await.expect(200).json();
        let entries = page["entries"].as_array()?.clone();
        let ours = |entry: &&Value| {
            entry["action"] == "key.create"
                && entry["actor"] == json!({"id": "jwt-corp", "name": "ann"})
        };
        entries.iter().find(ours).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_token_is_judged_where_none_is_needed() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let file = corp.folder.join("issuers.toml");
    let file = file.to_str().expect("a path of UTF-8");
    let open = crate::support::Agentbus::builder().memory_sqlite().env("JWT_ISSUERS_FILE", file);
    let open = open.start().await;
    let ann = open.http().with_key(&corp.token("ann", &json!({"as": ["ann"]})));
    assert_eq!(me(&ann).await["grants"], json!({"as": ["ann"]}));
    ann.get("/v1/stats").await.expect(403);
    let forged = open.http().with_key(&format!("{}x", corp.token("ann", &json!({}))));
    forged.get("/v1/me").await.expect(401);
}

#[tokio::test]
async fn grants_that_do_not_fit_are_refused_where_they_must_be_carried() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let read = |count: usize| {
        let pattern = |n| format!("agent.task.a-long-name-of-a-task-{n:030}.>");
        json!({"read": (0..count).map(pattern).collect::<Vec<_>>()})
    };
    let few = corp.client("ann", &read(25));
    log_in(&few).await;
    few.post_json("/v1/tickets", &json!({})).await.expect(201);
    let many = corp.client("ann", &read(100));
    assert_eq!(me(&many).await["grants"]["read"].as_array().map(Vec::len), Some(100));
    let refused = many.request(Method::POST, "/v1/session", &[], "").await.expect("an answer");
    assert!(refused.expect(403).json()["needs"].to_string().contains("cookie"));
    many.post_json("/v1/tickets", &json!({})).await.expect(422);
}
