//! What is refused before there is a request: problem documents written straight to the socket.

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::problem::Problem;
use crate::limits::DISCARD_TIME;

/// Bytes that are read and dropped at once.
const DISCARD_BYTES: usize = 4_096;

/// A problem as a whole answer, after which the connection ends.
fn bytes(problem: &Problem) -> Vec<u8> {
    let status = problem.status();
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Tells the client why its request could not be read, and waits a moment for it to read that.
pub(super) async fn send(mut socket: TcpStream, status: StatusCode) {
    let told = async {
        socket.write_all(&bytes(&unreadable(status))).await?;
        socket.shutdown().await?;
        let mut rest = [0; DISCARD_BYTES];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    let _ = tokio::time::timeout(DISCARD_TIME, told).await;
}

fn unreadable(status: StatusCode) -> Problem {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::new(
            status,
            "headers_too_large",
            "the request line and headers are too large, or too many",
        ),
        StatusCode::URI_TOO_LONG => {
            Problem::new(status, "uri_too_long", "the request line is too long")
        }
        _ => Problem::new(
            status,
            "malformed_request",
            "the request line or a header breaks the rules of HTTP (RFC 9112, RFC 3986); percent-encode what an \
             address must not hold",
        ),
    }
}
