//! Writes problem documents to the socket for requests that hyper itself refuses, or does not see.

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::problem::Problem;
use super::request_id::RequestId;
use crate::limits::DISCARD_TIME;
use crate::services::Code;

/// Size of the buffer for input that is read and dropped.
const DISCARD_BYTES: usize = 4_096;

/// A complete response, after which the connection ends. Its request id is new, since the request could not
/// be read.
fn response(problem: &Problem) -> Vec<u8> {
    let (status, id) = (problem.status(), RequestId::new());
    let body = problem.document(&id);
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n\
         x-request-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Sends the problem, and waits a moment for the client to read it.
pub(super) async fn send(socket: impl AsyncRead + AsyncWrite + Unpin, status: StatusCode) {
    send_problem(socket, &unreadable(status)).await;
}

/// Tells a client without TLS that it needs it.
pub(super) async fn send_no_tls(socket: impl AsyncRead + AsyncWrite + Unpin) {
    let detail = "this port speaks TLS: use https";
    send_problem(socket, &Problem::new(Code::MalformedRequest, detail)).await;
}

async fn send_problem(mut socket: impl AsyncRead + AsyncWrite + Unpin, problem: &Problem) {
    let sent = async {
        socket.write_all(&response(problem)).await?;
        socket.shutdown().await?;
        let mut rest = [0; DISCARD_BYTES];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    let _ = tokio::time::timeout(DISCARD_TIME, sent).await;
}

fn unreadable(status: StatusCode) -> Problem {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::new(
            Code::HeadersTooLarge,
            "the request line and headers are too large, or too many",
        ),
        StatusCode::URI_TOO_LONG => Problem::new(Code::UriTooLong, "the request line is too long"),
        _ => Problem::new(
            Code::MalformedRequest,
            "the request line or a header breaks the rules of HTTP (RFC 9112, RFC 3986); percent-encode characters \
             that a URI must not contain",
        ),
    }
}
