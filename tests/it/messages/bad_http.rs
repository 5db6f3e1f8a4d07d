//! Requests that are too large, too slow, for another host, or not HTTP. The server refuses them or closes
//! the connection, and serves the next one.

use std::time::Duration;

use crate::support::wire::{self, BATCH, JSON, MESSAGES, NDJSON, refused, still_serves};
use crate::support::{Deployment, Mode, within};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

const MAX_BATCH: usize = 8 * 1_024 * 1_024;
/// Longer than the server's time-out of 30 s for a slow request.
const SLOW: Duration = Duration::from_secs(38);
const SOON: Duration = Duration::from_secs(10);

async fn server() -> Deployment {
    Deployment::start(Mode::MemorySqlite).await
}

/// Sends bytes on a new connection. Returns what comes back until the server closes it, and whether it did.
async fn raw(d: &Deployment, bytes: &[u8], limit: Duration) -> (String, bool) {
    let deadline = Instant::now() + limit;
    let addr = d.bus().trim_start_matches("http://");
    let mut connection = TcpStream::connect(addr).await.expect("connect");
    // The server may close the connection after a part of the bytes.
    let mut broken = connection.write_all(bytes).await.is_err();
    let (mut response, mut buffer) = (Vec::new(), [0; 4_096]);
    let closed = loop {
        match timeout_at(deadline, connection.read(&mut buffer)).await {
            Err(_) => break broken,
            Ok(Ok(0)) | Ok(Err(_)) => break true,
            Ok(Ok(count)) => response.extend_from_slice(&buffer[..count]),
        }
        broken = false;
    };
    (String::from_utf8_lossy(&response).into_owned(), closed)
}

/// The code in the status line, if there is one.
fn status(response: &str) -> Option<u16> {
    response.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn huge_bodies_are_answered_with_413_however_they_come() {
    let d = server().await;
    let body = " ".repeat(MAX_BATCH + 1);
    for (path, content_type) in [(MESSAGES, JSON), (BATCH, JSON), (BATCH, NDJSON)] {
        refused(&d.http().post(path, content_type, body.clone()).await, &[413]);
    }
    // A body whose announced length is too large is refused before it is sent.
    let host = d.bus().trim_start_matches("http://");
    for length in ["8388609", "99999999999", "9223372036854775807"] {
        let head = format!(
            "POST {MESSAGES} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n\r\n{{"
        );
        let (response, closed) = raw(&d, head.as_bytes(), SOON).await;
        assert!(closed && response.contains("application/problem+json"), "{length}: {response}");
        assert_eq!(status(&response), Some(413), "{length}: {response}");
    }
    // A chunked body has no announced length.
    let mut chunks = format!(
        "POST {MESSAGES} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for _ in 0..9 {
        chunks += &format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    }
    let (response, closed) = raw(&d, chunks.as_bytes(), SOON).await;
    assert_eq!((status(&response), closed), (Some(413), true), "{response}");
    still_serves(&d).await;
}

#[tokio::test]
async fn incomplete_requests_time_out() {
    let d = server().await;
    let host = d.bus().trim_start_matches("http://");
    let whole = wire::good().to_string();
    let head = |length: usize| {
        format!(
            "POST {MESSAGES} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let half_body = head(whole.len()) + &whole[..whole.len() / 2];
    let no_body = head(10);
    let half_chunk = head(0).replace("content-length: 0", "transfer-encoding: chunked") + "10\r\n{";
    let half_head = format!("POST {MESSAGES} HTTP/1.1\r\nhost: {host}\r\ncont");
    let half_batch = head(1_000).replace(MESSAGES, BATCH) + "[";
    let open = TcpStream::connect(host).await.expect("connect");
    let raw = async |bytes: &str| raw(&d, bytes.as_bytes(), SLOW).await;
    let ((), halves) = tokio::join!(still_serves(&d), async {
        tokio::join!(
            raw(&half_body),
            raw(&no_body),
            raw(&half_chunk),
            raw(&half_head),
            raw(&half_batch)
        )
    });
    for (response, closed) in [halves.0, halves.1, halves.2, halves.3, halves.4] {
        assert!(closed, "still open: {response}");
        if let Some(status) = status(&response) {
            assert!(matches!(status, 400 | 408), "{response}");
            assert!(response.contains("application/problem+json"), "{response}");
        }
    }
    drop(open);
    still_serves(&d).await;
    let kept = wire::page(d.http(), "").await.messages;
    assert_eq!(kept.len(), 2, "half a message is none: {kept:?}");
}

#[tokio::test]
async fn other_content_types_are_415() {
    let d = server().await;
    let body = wire::good().to_string();
    let others = [
        "text/plain",
        "application/jsonx",
        "application/xml",
        "text/json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application",
        "",
        ";",
        "application/json/x",
    ];
    for path in [MESSAGES, BATCH] {
        for other in others {
            let answer = d.http().post(path, other, body.clone()).await;
            assert_eq!(answer.status, 415, "{path} {other:?}: {}", answer.text());
            wire::problem(&answer, 415);
        }
        let answer = d.http().request(Method::POST, path, &[], body.clone()).await;
        refused(&answer.expect("an answer"), &[415]);
    }
    refused(&d.http().post(MESSAGES, NDJSON, body.clone()).await, &[415]);
    for same in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json;charset=\"UTF-8\"",
    ] {
        d.http().post(MESSAGES, same, body.clone()).await.expect(201);
    }
    still_serves(&d).await;
}

#[tokio::test]
async fn other_methods_are_405_and_other_paths_404() {
    let d = server().await;
    let id = "/v1/messages/0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5";
    let routes = [
        (MESSAGES, "DELETE", "GET"),
        (MESSAGES, "PUT", "POST"),
        (MESSAGES, "PATCH", "GET"),
        (BATCH, "PUT", "POST"),
        (BATCH, "DELETE", "POST"),
        (id, "DELETE", "GET"),
        (id, "POST", "GET"),
        ("/v1/stream", "POST", "GET"),
        ("/v1/stats", "DELETE", "GET"),
        ("/v1/status", "POST", "GET"),
        ("/livez", "POST", "GET"),
        ("/readyz", "PUT", "GET"),
        ("/metrics", "POST", "GET"),
        ("/", "POST", "GET"),
        (MESSAGES, "BREW", "POST"),
    ];
    for (path, method, allowed) in routes {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = d.http().request(method.clone(), path, &[], "").await.expect("an answer");
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
        wire::problem(&answer, 405);
        let allow = answer.header("allow").expect("Allow");
        let mut allow = allow.split(',').map(str::trim);
        assert!(allow.any(|it| it == allowed), "{method} {path}: {answer:?}");
    }
    for path in [
        "/nope",
        "/v1",
        "/v1/",
        "/v1/nope",
        "/v2/messages",
        "/v1/messages/",
        "/v1/messages/x/y",
        "/V1/messages",
        "/livez/x",
        "/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%00",
        "/%ff",
        "/v1/messages/%ff",
        "//",
        "/a.html",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = d
                .http()
                .request(method.clone(), path, &[("content-type", JSON)], "{}")
                .await
                .expect("an answer");
            let statuses = if method == Method::POST { &[404, 405][..] } else { &[404, 400] };
            assert!(
                statuses.contains(&answer.status),
                "{method} {path}: {} {}",
                answer.status,
                answer.text()
            );
            wire::problem(&answer, answer.status);
        }
    }
    still_serves(&d).await;
}

#[tokio::test]
async fn absurd_parameters_are_refused_and_do_no_harm() {
    let d = server().await;
    let refused_ones = [
        "limit=18446744073709551616",
        "limit=%F0%9F%9A%80",
        "after=1e3",
        "after=0x10",
        "after=%2B1",
        "%ff=1",
        "=",
        "=1",
        "kind=%ff",
        "subject=%00",
        "since=999999999-01-01T00:00:00Z",
        "since=2026-01-01T00:00:00%2B99:99",
        "between=,",
    ];
    for query in refused_ones {
        for path in [MESSAGES, "/v1/stream"] {
            let answer = d.http().get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, 422, "{path}?{query}: {}", answer.text());
            wire::problem(&answer, 422);
        }
    }
    for id in ["abc", "-1", "1.5", "18446744073709551616", "1 or 1=1"] {
        let headers = [("last-event-id", id)];
        let answer =
            within(SOON, "an answer", d.http().request(Method::GET, "/v1/stream", &headers, ""))
                .await;
        refused(&answer.expect("an answer"), &[400, 422]);
    }
    let many = [
        "kind=message&".repeat(2_000),
        "subject=agent.*.*.*&".repeat(1_500),
        format!("type={}", "x".repeat(30_000)),
        "&".repeat(30_000),
    ];
    for query in &many {
        let answer = d.http().get(&format!("{MESSAGES}?{query}")).await;
        assert!(matches!(answer.status, 200 | 400 | 414 | 422 | 431), "{}", answer.text());
    }
    let long = format!("{MESSAGES}?type={}", "x".repeat(200_000));
    if let Ok(answer) = d.http().request(Method::GET, &long, &[], "").await {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    still_serves(&d).await;
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let d = server().await;
    let port = d.bus().rsplit(':').next().expect("a port");
    for host in [
        "evil.example.com",
        "localhost.evil.example.com",
        "127.0.0.1.evil.example.com",
        "10.0.0.1",
        "evil.example.com:80",
    ] {
        for (method, path) in [
            (Method::GET, MESSAGES),
            (Method::POST, MESSAGES),
            (Method::GET, "/v1/stream"),
            (Method::GET, "/"),
        ] {
            let headers = [("host", host), ("content-type", JSON)];
            let body =
                if method == Method::POST { wire::good().to_string() } else { String::new() };
            let answer = d.http().request(method, path, &headers, body).await.expect("an answer");
            refused(&answer, &[421]);
        }
    }
    for host in [
        "localhost".to_owned(),
        format!("LOCALHOST:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
    ] {
        d.http()
            .request(Method::GET, "/livez", &[("host", &host)], "")
            .await
            .expect("an answer")
            .expect(200);
    }
    let heads = [
        "GET /v1/messages HTTP/1.1\r\n".to_owned(),
        "GET /v1/messages HTTP/1.1\r\nhost:\r\n".to_owned(),
        format!(
            "GET /v1/messages HTTP/1.1\r\nhost: localhost:{port}\r\nhost: evil.example.com\r\n"
        ),
        format!("GET http://evil.example.com/v1/messages HTTP/1.1\r\nhost: localhost:{port}\r\n"),
    ];
    for head in heads {
        let (response, _) =
            raw(&d, format!("{head}connection: close\r\n\r\n").as_bytes(), SOON).await;
        assert!(matches!(status(&response), Some(400 | 421)), "{head}{response}");
    }
    assert!(wire::page(d.http(), "").await.messages.is_empty());
    still_serves(&d).await;
}

#[tokio::test]
async fn invalid_heads_end_only_their_connection() {
    let d = server().await;
    let host = d.bus().trim_start_matches("http://");
    let good = format!("GET /livez HTTP/1.1\r\nhost: {host}\r\n");
    let many: String = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let smuggled = format!("POST {MESSAGES} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {JSON}\r\n");
    let bombs = [
        format!("{good}{many}\r\n"),
        format!("{good}x: {}\r\n\r\n", "y".repeat(2_000_000)),
        format!("{good}x: a\0b\r\n\r\n"),
        format!("{good} folded: x\r\n\r\n"),
        format!("{good}: no name\r\n\r\n"),
        format!("{smuggled}content-length: abc\r\n\r\n{{}}"),
        format!("{smuggled}content-length: -1\r\n\r\n{{}}"),
        format!("{smuggled}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
        format!("{smuggled}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /livez HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}".to_owned() + &"\0".repeat(500) + "\r\n\r\n",
        "nonsense\r\n\r\n".to_owned(),
        "G E T / HTTP/1.1\r\n\r\n".to_owned(),
        "\r\n\r\n\r\n\0".to_owned(),
    ];
    for bomb in &bombs {
        let (response, closed) = raw(&d, bomb.as_bytes(), SOON).await;
        let shown = &bomb[..bomb.len().min(120)];
        assert!(closed, "still open after {shown:?}: {response}");
        assert!(
            status(&response).is_none_or(|status| (400..506).contains(&status) && status != 500),
            "{shown:?}: {response}"
        );
    }
    // Requests before the garbage on the same connection are answered.
    let (response, closed) =
        raw(&d, format!("{good}\r\n{good}\r\n\0\u{1}garbage\r\n\r\n{good}\r\n").as_bytes(), SOON)
            .await;
    assert!(closed, "{response}");
    assert_eq!(response.matches("HTTP/1.1 200").count(), 2, "{response}");
    assert!(response.matches("HTTP/1.1 ").count() <= 3, "{response}");
    still_serves(&d).await;
}
