//! The server of an issuer's keys: rotation, and whatever goes wrong with it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Corp, me};
use crate::support::jwt::{Jwks, SigningKey};
use crate::support::{Mode, eventually, metrics, within};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_new_key_counts_at_once_and_unknown_ones_cost_one_fetch_a_minute() {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let grants = json!({"as": ["ann"]});
    me(&corp.client("ann", &grants)).await;
    let before = corp.jwks.requests();
    let new = SigningKey::new("EdDSA", "k2");
    corp.jwks.set(Jwks::of(&[&new]));
    let claims = crate::support::jwt::claims(super::ISSUER, "ann", &grants);
    me(&corp.secured.stranger().with_key(&new.token(&claims))).await;
    assert_eq!(corp.jwks.requests(), before + 1);
    // What the old key signed is verified anew, and refused.
    let refused = corp.client("ann", &grants).get("/v1/me").await.expect(401).json();
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("(kid)")), "{refused}");
    let unknown = SigningKey::new("EdDSA", "k3");
    let client = corp.secured.stranger().with_key(&unknown.token(&claims));
    let begun = Instant::now();
    for _ in 0..20 {
        client.get("/v1/me").await.expect(401);
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "a refusal waits for nothing");
    assert_eq!(corp.jwks.requests(), before + 1);
}

#[tokio::test]
async fn known_keys_count_while_their_server_is_away() {
    let mut corp = Corp::start(Mode::MemorySqlite, "").await;
    let grants = json!({"as": ["ann"]});
    me(&corp.client("ann", &grants)).await;
    corp.jwks.kill().await;
    let unknown = SigningKey::new("EdDSA", "k2");
    let claims = crate::support::jwt::claims(super::ISSUER, "ann", &grants);
    let unknown = corp.secured.stranger().with_key(&unknown.token(&claims));
    unknown.get("/v1/me").await.expect(401);
    me(&corp.client("bob", &grants)).await;
    let log = corp.secured.deployment.agentbus().log();
    assert_eq!(log.matches("the JWKS cannot be fetched").count(), 1, "{log}");
    assert!(
        metrics::value(&corp.secured.root, r#"agentbus_jwks_age_seconds{issuer="corp"}"#).await
            >= 0.0
    );
}

/// Starts with an answer that is of no use, and then answers well.
async fn starts_without_keys(answer: Jwks, why: &str) {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    corp.jwks.set(answer);
    corp.secured.deployment.agentbus().restart().await;
    let ann = corp.client("ann", &json!({"as": ["ann"]}));
    let refused = within(SOON, "the refusal", ann.get("/v1/me")).await.expect(503);
    assert_eq!(refused.json()["code"], "overloaded");
    let log = eventually(SOON, "the log says why", async || {
        let log = corp.secured.deployment.agentbus().log();
        log.contains("the JWKS cannot be fetched").then_some(log)
    })
    .await;
    assert!(log.contains(why), "{log}");
    // Those with keys of this deployment notice nothing.
    corp.secured.root.get("/v1/me").await.expect(200);
    corp.jwks.set(Jwks::of(&[&corp.key]));
    eventually(SOON, "the keys are fetched", async || {
        (ann.get("/v1/me").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_jwks_of_10_mb_is_not_read() {
    starts_without_keys(Jwks::Huge { says_so: true }, "larger than").await;
}

#[tokio::test]
async fn a_jwks_of_10_mb_of_unknown_length_is_not_read() {
    starts_without_keys(Jwks::Huge { says_so: false }, "larger than").await;
}

#[tokio::test]
async fn a_jwks_that_is_elsewhere_is_not_followed() {
    let elsewhere = Corp::start(Mode::MemorySqlite, "").await;
    let before = elsewhere.jwks.requests();
    starts_without_keys(Jwks::Redirect(elsewhere.jwks.url()), "302").await;
    assert_eq!(elsewhere.jwks.requests(), before);
}

#[tokio::test]
async fn a_jwks_that_is_none_is_refused() {
    starts_without_keys(Jwks::Document(json!({"issuer": "x"})), "is no JWKS").await;
}

/// Nobody but those with an unknown key waits for a server that hangs, and a revocation holds as soon as ever.
async fn a_hanging_server_holds_up_nobody(answer: Jwks) {
    let corp = Corp::start(Mode::MemorySqlite, "").await;
    let grants = json!({"as": ["ann"], "read": ["agent.>"]});
    let ann = corp.client("ann", &grants);
    me(&ann).await;
    let key = corp.secured.key(json!({"read": ["agent.>"]})).await;
    let mut stream = key.http.stream("", None).await;
    stream.expect_ready().await;
    corp.jwks.set(answer);
    let unknown = SigningKey::new("EdDSA", "k2");
    let claims = crate::support::jwt::claims(super::ISSUER, "ann", &grants);
    let unknown = corp.secured.stranger().with_key(&unknown.token(&claims));
    let before = corp.jwks.requests();
    let waiting = tokio::spawn(async move { unknown.get("/v1/me").await });
    eventually(SOON, "the fetch begins", async || (corp.jwks.requests() > before).then_some(()))
        .await;
    let begun = Instant::now();
    me(&ann).await;
    corp.secured.revoke(&key.id).await;
    stream.expect_end(SOON).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!waiting.is_finished(), "it still waits for the new keys");
    let refused = within(SOON, "the refusal", waiting).await.expect("it ends");
    assert_eq!(refused.status, 401);
    me(&ann).await;
}

#[tokio::test]
async fn a_jwks_that_hangs_holds_up_nobody() {
    a_hanging_server_holds_up_nobody(Jwks::Hang).await;
}

#[tokio::test]
async fn a_jwks_that_hangs_inside_its_answer_holds_up_nobody() {
    a_hanging_server_holds_up_nobody(Jwks::HangInside).await;
}
