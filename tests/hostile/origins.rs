//! A page of another site cannot change anything.

use reqwest::Method;
use serde_json::json;

use crate::support::{Agentbus, Http};

/// Every request that changes something and that a page could send without a preflight: with no content type
/// or a simple one.
const ACTS: [(&str, &str); 16] = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/batch"),
    ("POST", "/v1/agents/ann/inbox/ack"),
    ("POST", "/v1/consumers/agent-processor/pause"),
    ("POST", "/v1/consumers/agent-processor/resume"),
    ("POST", "/v1/consumers/agent-processor/reset"),
    ("POST", "/v1/dead-letters/redrive"),
    ("POST", "/v1/dead-letters/01a1f9ed-488c-76fa-ba44-b7f5bdc54058/redrive"),
    ("DELETE", "/v1/dead-letters/01a1f9ed-488c-76fa-ba44-b7f5bdc54058"),
    ("POST", "/v1/queues/builds/lease"),
    ("POST", "/v1/queues/builds/jobs"),
    ("PUT", "/v1/queues/builds"),
    ("DELETE", "/v1/queues/builds"),
    ("POST", "/v1/webhooks"),
    ("POST", "/v1/leases/x/ack"),
    ("POST", "/nothing/here"),
];

async fn act(http: &Http, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let method: Method = method.parse().expect("a method");
    let answer = http.request(method, path, headers, "").await.expect("an answer");
    (answer.status, answer.text())
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let http = server.http();
    for (method, path) in ACTS {
        for foreign in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("origin", "https://evil.example"), ("content-type", "text/plain")],
            &[("origin", "https://evil.example"), ("content-type", "application/json")],
        ] {
            let (status, body) = act(&http, method, path, foreign).await;
            assert_eq!(status, 403, "{method} {path} {foreign:?}: {body}");
            assert!(body.contains("forbidden_origin"), "{body}");
        }
    }
    let consumers = http.get("/v1/consumers").await.json();
    assert_ne!(consumers["consumers"][0]["state"], "paused", "{consumers}");
    // Our own page may, and so may programs.
    let ours = [("origin", server.url())];
    for headers in [&ours[..], &[]] {
        let (status, body) =
            act(&http, "POST", "/v1/consumers/agent-processor/resume", headers).await;
        assert_eq!(status, 200, "{body}");
    }
    // A page of another site may still read, as any link does.
    let looked =
        http.request(Method::GET, "/v1/messages", &[("origin", "https://evil.example")], "").await;
    assert_eq!(looked.expect("an answer").status, 200);
}

#[tokio::test]
async fn listed_origins_and_the_public_address_may_act_and_a_star_may_not() {
    let message = json!({"kind": "message", "type": "note", "sender_id": "page"}).to_string();
    let post = async |http: &Http, origin: &str| {
        let headers = [("origin", origin), ("content-type", "application/json")];
        http.request(Method::POST, "/v1/messages", &headers, message.clone())
            .await
            .expect("an answer")
            .status
    };
    let server = Agentbus::builder()
        .memory_sqlite()
        .env("CORS_ORIGINS", "https://app.example.com")
        .env("PUBLIC_URL", "https://bus.example.com/")
        .start()
        .await;
    let http = server.http();
    assert_eq!(post(&http, "https://app.example.com").await, 201);
    assert_eq!(post(&http, "https://bus.example.com").await, 201);
    assert_eq!(post(&http, "https://evil.example").await, 403);
    let named = [("host", "bus.example.com")];
    assert_eq!(
        http.request(Method::GET, "/v1/messages", &named, "").await.expect("an answer").status,
        200
    );
    let open = Agentbus::builder().memory_sqlite().env("CORS_ORIGINS", "*").start().await;
    assert_eq!(post(&open.http(), "https://app.example.com").await, 403);
    assert_eq!(post(&open.http(), open.url()).await, 201);
}
