//! The webhook client against receivers that the test runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use reqwest::Url;

use super::{Failure, Guard, Secret, WebhookClient};
use crate::message::{LogEntry, Record, Subject, decode};

const OPEN: Guard = Guard { allow_private: true };

/// The requests that a receiver got, and how it responds.
#[derive(Clone)]
struct Scene {
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answer: fn() -> Response,
}

/// Starts a receiver that responds to every request with `answer()`. Returns its port, and the scene that records
/// the requests.
async fn receiver(answer: fn() -> Response) -> (u16, Scene) {
    async fn take(State(scene): State<Scene>, headers: HeaderMap, body: Bytes) -> Response {
        scene.got.lock().expect("no panic").push((headers, body));
        (scene.answer)()
    }
    let scene = Scene { got: Arc::default(), answer };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let router = Router::new().fallback(take).with_state(scene.clone());
    // The task ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, scene)
}

fn message() -> Record {
    let raw = LogEntry {
        seq: 42,
        subject: Subject::from_log("agent.message.agent.note".to_owned()),
        headers: Vec::new(),
        payload: Bytes::from_static(
            br#"{"id":"0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5","kind":"message","type":"note","sender_id":"ann","content":"x"}"#,
        ),
        logged_at: now(),
    };
    decode(raw, "agent-messages")
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn secret() -> Secret {
    Secret::generate().expect("random bytes")
}

async fn deliver(guard: Guard, url: &str) -> Result<StatusCode, Failure> {
    let url = Url::parse(url).expect("a URL");
    WebhookClient::new(guard)
        .expect("a client")
        .deliver(&url, &secret(), &message(), None, now())
        .await
}

/// The failure of a delivery to a receiver with this response.
async fn failure(answer: fn() -> Response) -> Failure {
    let (port, _) = receiver(answer).await;
    deliver(OPEN, &format!("http://127.0.0.1:{port}/")).await.expect_err("no success")
}

#[tokio::test]
async fn posts_the_full_message_signed() {
    let (port, scene) = receiver(|| StatusCode::ACCEPTED.into_response()).await;
    let url = format!("http://127.0.0.1:{port}/hook?a=b").parse().expect("a URL");
    let (client, secret) = (WebhookClient::new(OPEN).expect("a client"), secret());
    assert_eq!(
        client.deliver(&url, &secret, &message(), None, now()).await,
        Ok(StatusCode::ACCEPTED)
    );
    let (headers, body) = scene.got.lock().expect("no panic").remove(0);
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    assert!(body.starts_with(br#"{"seq":42,"id":"0f3a1b5c-"#), "{body:?}");
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-id"), "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5_42");
    assert_eq!(header("webhook-timestamp"), "1800000000");
    let expected = secret.sign(&header("webhook-id"), 1_800_000_000, &body);
    assert_eq!(header("webhook-signature"), expected);
}

#[tokio::test]
async fn a_redirect_is_a_failure_that_says_so() {
    let redirect = || (StatusCode::FOUND, [("location", "http://10.0.0.1/x")]).into_response();
    let failure = failure(redirect).await;
    assert!(failure.error.contains("302 Found, a redirect to http://10.0.0.1/x"), "{failure:?}");
    assert!(!failure.gone && failure.retry_after.is_none());
}

#[tokio::test]
async fn gone_and_later_are_told_apart() {
    assert!(failure(|| StatusCode::GONE.into_response()).await.gone);
    let asked =
        failure(|| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "90")]).into_response());
    assert_eq!(asked.await.retry_after, Some(Duration::from_secs(90)));
    // The date in the response is two minutes after `now`.
    let (port, _) = receiver(|| {
        let date = "Fri, 15 Jan 2027 08:02:00 GMT";
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", date)]).into_response()
    })
    .await;
    let dated = deliver(OPEN, &format!("http://127.0.0.1:{port}/")).await.expect_err("no success");
    assert_eq!(dated.retry_after, Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn what_a_receiver_asks_for_is_bounded() {
    let for_ever = failure(|| {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "99999999999")]).into_response()
    });
    assert_eq!(for_ever.await.retry_after, Some(crate::limits::MAX_WEBHOOK_RETRY_AFTER));
    let other = failure(|| (StatusCode::NOT_FOUND, [("retry-after", "9")]).into_response());
    assert_eq!(other.await.retry_after, None);
}

#[tokio::test]
async fn an_answer_is_quoted_on_one_line_and_cut() {
    let failure = failure(|| {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("no\n\u{1b}[2J{}", "x".repeat(1 << 20)))
            .into_response()
    })
    .await;
    assert!(
        failure.error.starts_with("the receiver answered 500 Internal Server Error: no  [2Jxxx")
    );
    assert!(failure.error.len() < crate::limits::MAX_WEBHOOK_ERROR_BODY + 64, "{failure:?}");
}

#[tokio::test]
async fn private_addresses_are_refused_before_a_connection_is_made() {
    let (port, scene) = receiver(|| StatusCode::OK.into_response()).await;
    let closed = Guard { allow_private: false };
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f.1"] {
        let failure =
            deliver(closed, &format!("http://{host}:{port}/")).await.expect_err("refused");
        assert!(failure.error.contains("WEBHOOK_ALLOW_PRIVATE"), "{host}: {failure:?}");
    }
    assert!(scene.got.lock().expect("no panic").is_empty());
    assert_eq!(deliver(OPEN, &format!("http://localhost:{port}/")).await, Ok(StatusCode::OK));
}

#[tokio::test]
async fn nobody_there_is_a_failure_without_the_address() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let failure = deliver(OPEN, &format!("http://127.0.0.1:{port}/?token=hunter2")).await;
    let error = failure.expect_err("nobody listens").error;
    assert!(error.starts_with("no connection to the receiver: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn https_is_spoken_as_tls() {
    // The receiver speaks no TLS, so the handshake fails.
    let (port, _) = receiver(|| StatusCode::OK.into_response()).await;
    let failure = deliver(OPEN, &format!("https://127.0.0.1:{port}/")).await.expect_err("no TLS");
    assert!(failure.error.starts_with("no connection to the receiver: "), "{failure:?}");
}
