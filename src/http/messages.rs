//! `POST /v1/messages`: one message in.

use std::fmt::Display;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::body::Upload;
use super::params;
use super::problem::Problem;
use super::{Shared, reply};
use crate::ingest::Receipt;
use crate::limits::MAX_IDEMPOTENCY_KEY;
use crate::message::{Draft, FieldError, ParameterError, Principal, format_micros, idempotency_id};

/// Where messages are posted, and read from.
pub(super) const PATH: &str = "/v1/messages";
/// Room for an answer: its members, and a subject of usual length.
const ANSWER_BYTES: usize = 320;

/// The answer to one accepted message.
#[derive(Serialize)]
struct Answer<'a> {
    seq: u64,
    id: Uuid,
    subject: &'a str,
    created_at: &'a str,
    duplicate: bool,
    durability: &'static str,
}

/// `stored` or `committed` (contract, section 3, Acks).
pub(super) fn durability(receipt: &Receipt) -> &'static str {
    if receipt.committed { "committed" } else { "stored" }
}

/// Takes one message in.
pub(super) async fn create(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    take_in(api, query.as_deref(), upload).await
}

/// Takes one message in, however its request came.
pub(super) async fn take_in<B>(
    api: Shared,
    query: Option<&str>,
    upload: Upload<B>,
) -> Result<Response, Problem>
where
    B: hyper::body::Body<Data = Bytes, Error: Display> + Unpin,
{
    let (level, reply_within) = params::post(query)?;
    let key = idempotency_key(upload.headers())?.map(str::to_owned);
    let work = upload.work().clone();
    let body = upload.json().await?;
    let draft = identified(Draft::parse(&body)?, key.as_deref())?;
    let counted = body.parsed();
    if let Some(within) = reply_within {
        // Boxed, so that those who wait for no reply do not carry the room for it.
        return Box::pin(reply::ask(api, work, counted, draft, level, within)).await;
    }
    let id = draft.id().unwrap_or_else(Uuid::now_v7);
    let receipt = api.ingest.publish_one(&Principal::Anonymous, &draft, id, level).await?;
    Ok(respond(&receipt))
}

/// The `Idempotency-Key`, if there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let refuse = |detail: &str| {
        let parameter = "Idempotency-Key".to_owned();
        Err(Problem::parameters(vec![ParameterError { parameter, detail: detail.to_owned() }]))
    };
    if headers.get_all("idempotency-key").iter().count() > 1 {
        return refuse("must stand once only");
    }
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => refuse("must be 1 to 255 visible ASCII characters"),
    }
}

/// The draft under the id that its key gives.
fn identified(draft: Draft, key: Option<&str>) -> Result<Draft, Problem> {
    match key {
        None => Ok(draft),
        Some(_) if draft.id().is_some() => Err(Problem::fields(vec![FieldError {
            pointer: "/id".to_owned(),
            detail: "stands beside an Idempotency-Key: send one of the two".to_owned(),
        }])),
        Some(key) => {
            let id = idempotency_id(draft.sender_id(), key);
            Ok(draft.with_id(id))
        }
    }
}

fn respond(receipt: &Receipt) -> Response {
    let answer = Answer {
        seq: receipt.seq,
        id: receipt.id,
        subject: receipt.subject.as_str(),
        created_at: &format_micros(receipt.created_at),
        duplicate: receipt.duplicate,
        durability: durability(receipt),
    };
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    let _ = serde_json::to_writer(&mut body, &answer);
    let mut response = json_bytes(body);
    *response.status_mut() = if receipt.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let mut location = [b'/'; PATH.len() + 1 + uuid::fmt::Hyphenated::LENGTH];
    location[..PATH.len()].copy_from_slice(PATH.as_bytes());
    receipt.id.hyphenated().encode_lower(&mut location[PATH.len() + 1..]);
    if let Ok(location) = HeaderValue::from_bytes(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A value as a JSON response.
pub(super) fn axum_json<T: Serialize>(value: &T) -> Response {
    json_bytes(serde_json::to_vec(value).unwrap_or_default())
}

/// Bytes that are JSON already.
pub(super) fn json_bytes(bytes: Vec<u8>) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}
