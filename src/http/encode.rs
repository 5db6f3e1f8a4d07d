//! JSON responses.
//!
//! Invariant: the stored bytes of a message or job are copied unchanged.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use crate::message::splice_seq;
use crate::services::history::MessagePage;

/// The most bytes that a response adds to the body of a message: `seq` and a comma.
const MESSAGE_OVERHEAD: usize = 32;

/// A response with a value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    json_bytes(serde_json::to_vec(value).unwrap_or_default())
}

/// A response with bytes that are JSON already.
pub(super) fn json_bytes(bytes: Vec<u8>) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Turns the response into a 201 with a `Location`.
pub(super) fn created(location: &str, mut response: Response) -> Response {
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A response with one message.
pub(super) fn message(seq: u64, body: &[u8]) -> Response {
    let mut out = Vec::with_capacity(body.len() + MESSAGE_OVERHEAD);
    splice_seq(seq, body, &mut out);
    json_bytes(out)
}

/// A response with a page of messages.
pub(super) fn page(page: &MessagePage) -> Response {
    let bytes: usize = page.messages.iter().map(|m| m.body.len() + MESSAGE_OVERHEAD).sum();
    let mut out = Vec::with_capacity(bytes + 80);
    out.extend_from_slice(b"{\"messages\":");
    array(&page.messages, &mut out, |message, out| splice_seq(message.seq, &message.body, out));
    let next = page.next.map_or_else(|| "null".to_owned(), |next| next.to_string());
    let end = format!(",\"next\":{next},\"committed_through\":{}}}", page.committed_through);
    out.extend_from_slice(end.as_bytes());
    json_bytes(out)
}

/// Appends a JSON array; `write` appends each item.
pub(super) fn array<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}
