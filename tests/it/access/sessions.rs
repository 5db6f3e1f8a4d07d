//! Sessions of browsers, tickets, and the rules for other origins.

use reqwest::Method;
use serde_json::json;

use crate::support::keys::Secured;
use crate::support::{Http, Mode, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Opens a session; returns the cookie as the browser sends it.
pub async fn log_in(http: &Http) -> String {
    let answer =
        http.request(Method::POST, "/v1/session", &[], "").await.expect("an answer").expect(204);
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    for rule in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(rule), "{cookie}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    cookie.split(';').next().expect("a pair").to_owned()
}

async fn get(http: &Http, path: &str, headers: &[(&str, &str)]) -> crate::support::Answer {
    http.request(Method::GET, path, headers, "").await.expect("an answer")
}

#[tokio::test]
async fn a_session_lives_within_its_key_and_ends_on_request() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let key = secured.key(json!({"as": ["ann"], "read": ["agent.>"]})).await;
    let stranger = secured.stranger();
    assert_eq!(
        stranger.request(Method::POST, "/v1/session", &[], "").await.expect("an answer").status,
        401
    );
    let cookie = log_in(&key.http).await;
    let other = log_in(&key.http).await;
    let me = get(stranger, "/v1/me", &[("cookie", &cookie)]).await.expect(200).json();
    assert_eq!(me["id"], json!(key.id));
    // A cookie alone opens no second session.
    let again = stranger.request(Method::POST, "/v1/session", &[("cookie", &cookie)], "").await;
    assert_eq!(again.expect("an answer").status, 401);
    let out = stranger.request(Method::DELETE, "/v1/session", &[("cookie", &cookie)], "").await;
    let out = out.expect("an answer").expect(204);
    assert!(out.header("set-cookie").is_some_and(|set| set.contains("Max-Age=0")));
    get(stranger, "/v1/me", &[("cookie", &cookie)]).await.expect(401);
    get(stranger, "/v1/me", &[("cookie", &other)]).await.expect(200);
    secured.revoke(&key.id).await;
    get(stranger, "/v1/me", &[("cookie", &other)]).await.expect(401);
    // The page that lets people log in again loads with the cookie that has ended.
    get(stranger, "/", &[("cookie", &other)]).await.expect(200);
}

#[tokio::test]
async fn a_ticket_opens_streams_with_its_filter_until_it_expires() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let key = secured.key(json!({"as": ["ann"], "read": ["agent.>"]})).await;
    let post = async |task: &str| {
        let message = json!({"kind": "task", "type": "note", "sender_id": "bob", "task_id": task});
        secured.root.post_json("/v1/messages", &message).await.expect(201).seq()
    };
    let (_, wanted) = (post("t0").await, post("t1").await);
    let made =
        key.http.post_json("/v1/tickets", &json!({"task": ["t1"], "ttl_s": 2})).await.expect(201);
    let ticket = made.json()["ticket"].as_str().expect("a ticket").to_owned();
    assert!(ticket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
    let stranger = secured.stranger();
    let query = format!("ticket={ticket}&last_event_id=0");
    for _ in 0..2 {
        let mut stream = stranger.stream(&query, None).await;
        let frames = stream.until(SOON, |frame| frame.is("caught_up")).await;
        let seqs: Vec<u64> = frames
            .iter()
            .filter(|frame| frame.is("task"))
            .map(|frame| frame.json()["seq"].as_u64().expect("a seq"))
            .collect();
        assert_eq!(seqs, [wanted]);
    }
    let wider = stranger.try_stream(&format!("{query}&task=t0"), None).await.expect("an answer");
    assert_eq!(wider.err().map(|answer| answer.status), Some(422));
    // It opens nothing but streams.
    assert_eq!(stranger.get(&format!("/v1/messages?ticket={ticket}")).await.status, 401);
    let mut open = stranger.stream(&query, None).await;
    open.until(SOON, |frame| frame.is("caught_up")).await;
    eventually(SOON, "the ticket expires", async || {
        let answer = stranger.try_stream(&query, None).await.expect("an answer");
        answer.err().map(|answer| assert_eq!(answer.status, 401))
    })
    .await;
    // A stream that it has opened lives by the key.
    let seq = post("t1").await;
    let frames = open.until(SOON, |frame| frame.is("task")).await;
    assert_eq!(frames.last().expect("a frame").json()["seq"], seq);
    secured.revoke(&key.id).await;
    let end = open.expect_end(SOON).await;
    assert!(end.iter().any(|frame| frame.is("denied")), "{end:?}");
}

#[tokio::test]
async fn other_origins_come_in_with_what_they_know() {
    let page = "https://app.example.com";
    let secured = Secured::tuned(Mode::MemorySqlite, &[("CORS_ORIGINS", page)]).await;
    let key =
        secured.key(json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"]})).await;
    let cookie = log_in(&key.http).await;
    let stranger = secured.stranger();
    let listed =
        get(stranger, "/v1/me", &[("origin", page), ("cookie", &cookie)]).await.expect(200);
    assert_eq!(listed.header("access-control-allow-origin"), Some(page));
    assert_eq!(listed.header("access-control-allow-credentials"), Some("true"));
    // A refusal can be read by the page, too.
    let refused = get(stranger, "/v1/me", &[("origin", page)]).await.expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), Some(page));
    let foreign = [("origin", "https://evil.example"), ("cookie", cookie.as_str())];
    let answer = get(stranger, "/v1/me", &foreign).await.expect(401);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let preflight = [
        ("origin", page),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let allowed = stranger.request(Method::OPTIONS, "/v1/messages", &preflight, "").await;
    let allowed = allowed.expect("an answer").expect(200);
    assert!(
        allowed
            .header("access-control-allow-headers")
            .is_some_and(|names| names.contains("authorization"))
    );
}

#[tokio::test]
async fn any_origin_needs_a_key_of_its_own() {
    let secured = Secured::tuned(Mode::MemorySqlite, &[("CORS_ORIGINS", "*")]).await;
    let key =
        secured.key(json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"]})).await;
    let cookie = log_in(&key.http).await;
    let origin = ("origin", "https://evil.example");
    let message = json!({"kind": "message", "type": "note"}).to_string();
    let json = ("content-type", "application/json");
    let post = async |http: &Http, headers: &[(&str, &str)]| {
        let answer = http.request(Method::POST, "/v1/messages", headers, message.clone()).await;
        answer.expect("an answer").status
    };
    assert_eq!(post(&key.http, &[origin, json]).await, 201, "the page knows the key");
    let stranger = secured.stranger();
    assert_eq!(
        post(stranger, &[origin, json, ("cookie", &cookie)]).await,
        403,
        "the browser adds the cookie"
    );
    assert_eq!(get(stranger, "/v1/me", &[origin, ("cookie", &cookie)]).await.status, 401);
    let answer = get(&key.http, "/v1/me", &[origin]).await.expect(200);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn tls_in_front_binds_the_cookie_to_the_host() {
    let secured =
        Secured::tuned(Mode::MemorySqlite, &[("PUBLIC_URL", "https://bus.example.com")]).await;
    let answer = secured
        .root
        .request(Method::POST, "/v1/session", &[], "")
        .await
        .expect("an answer")
        .expect(204);
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(
        cookie.starts_with("__Host-agentbus_session=") && cookie.contains("; Secure"),
        "{cookie}"
    );
}
