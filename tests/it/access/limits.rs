//! Limits of keys, failed credentials, and metrics without a key.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::keys::Secured;
use crate::support::{Http, Mode, eventually, ports};

const SOON: Duration = Duration::from_secs(20);

async fn limited(secured: &Secured, limits: serde_json::Value) -> Http {
    let grants = json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"]});
    secured.make(json!({"name": "limited", "grants": grants, "limits": limits})).await.http
}

#[track_caller]
fn over(answer: &crate::support::Answer, limit: &str) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.json()["code"], "rate_limited");
    let wait = answer.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
    assert!(wait.is_some_and(|wait| wait >= 1), "{:?}", answer.headers);
    let left = answer.header("ratelimit").expect("RateLimit");
    assert!(left.starts_with(&format!("\"{limit}\";r=0;t=")), "{left}");
}

#[tokio::test]
async fn a_key_keeps_within_its_limits() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let message = json!({"kind": "message", "type": "note", "content": "0123456789"});
    let http = limited(&secured, json!({"messages_per_s": 2})).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(http.post_json("/v1/messages", &message).await);
    }
    over(statuses.iter().find(|answer| answer.status == 429).expect("over"), "messages_per_s");
    http.get("/v1/messages").await.expect(200);
    eventually(SOON, "the next second", async || {
        (http.post_json("/v1/messages", &message).await.status == 201).then_some(())
    })
    .await;
    let http = limited(&secured, json!({"requests_per_s": 1})).await;
    let answers = [http.get("/v1/me").await, http.get("/v1/me").await, http.get("/v1/me").await];
    over(answers.iter().find(|answer| answer.status == 429).expect("over"), "requests_per_s");
    let http = limited(&secured, json!({"bytes_per_day": 30})).await;
    http.post_json("/v1/messages", &message).await.expect(201);
    http.post_json("/v1/messages", &message).await.expect(201);
    over(&http.post_json("/v1/messages", &message).await, "bytes_per_day");
    let http = limited(&secured, json!({"streams": 1})).await;
    let stream = http.stream("", None).await;
    let second = http.request(Method::GET, "/v1/stream", &[], "").await.expect("an answer");
    over(&second, "streams");
    drop(stream);
    eventually(SOON, "the stream has ended", async || {
        matches!(http.try_stream("", None).await, Ok(Ok(stream)) if stream.header("content-type").is_some())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn failed_credentials_get_slow_and_good_ones_do_not() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let key = secured.key(json!({})).await;
    let bad = secured.stranger().with_key("ab_guess");
    let mut refused = 0;
    for _ in 0..60 {
        refused += u32::from(bad.get("/v1/me").await.status == 401);
    }
    assert_eq!(refused, 60);
    let slow = eventually(SOON, "the address gets slow", async || {
        let answer = bad.get("/v1/me").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    over(&slow, "failed_credentials");
    for _ in 0..10 {
        key.http.get("/v1/me").await.expect(200);
        secured.stranger().get("/v1/me").await.expect(401);
    }
}

#[tokio::test]
async fn metrics_are_served_on_a_listener_of_their_own() {
    let port = ports::free();
    let address = format!("127.0.0.1:{port}");
    let secured = Secured::tuned(Mode::MemorySqlite, &[("METRICS_ADDR", &address)]).await;
    let monitoring = Http::new(&format!("http://{address}"));
    let metrics = monitoring.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("agentbus_keys_age_seconds"), "{metrics}");
    monitoring.get("/livez").await.expect(200);
    monitoring.get("/readyz").await.expect(200);
    assert!(monitoring.get("/readyz?verbose").await.expect(200).text().contains("parts"));
    for path in ["/v1/messages", "/v1/keys", "/v1/stream", "/"] {
        monitoring.get(path).await.expect(404);
    }
    secured.stranger().get("/metrics").await.expect(401);
    let refused =
        crate::support::Agentbus::builder().env("METRICS_ADDR", "0.0.0.0:9").expect_refusal();
    assert!(refused.await.contains("METRICS_ADDR"));
}
