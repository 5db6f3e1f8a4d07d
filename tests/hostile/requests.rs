//! Requests that people type work, and requests that are invalid in HTTP get a problem document.

use crate::raw::{exchange, head, send};
use crate::support::Agentbus;

#[tokio::test]
async fn a_raw_greater_than_works_in_the_first_request_line() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let asked = b"GET /v1/stream?subject=agent.> HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut socket = send(&server, asked).await.expect("a connection");
    let head = head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // A later request on the connection is refused, since only hyper knows where it begins.
    let two = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/messages?subject=agent.> HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let response = exchange(&server, two).await;
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.contains("HTTP/1.1 400 "),
        "{response}"
    );
}

#[tokio::test]
async fn invalid_http_gets_a_problem_document() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let many: String = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let wide = format!("x: {}\r\n", "y".repeat(100_000));
    for (request, status, code) in [
        (
            "GET /v1/messages?contains=\"a\" <b HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
            "malformed_request",
        ),
        ("what is this\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431, "headers_too_large"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{wide}\r\n"), 431, "headers_too_large"),
    ] {
        let response = exchange(&server, request.as_bytes()).await;
        let what: String = request.chars().take(40).collect();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {response}");
        assert!(
            response.contains("content-type: application/problem+json\r\n"),
            "{what}: {response}"
        );
        let (_, body) = response.split_once("\r\n\r\n").expect("a body");
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&status.into(), &code.into()),
            "{what}"
        );
    }
}
