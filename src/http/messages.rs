//! `POST /v1/messages` and `POST /v1/messages/batch`.

use std::fmt::Display;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::ask;
use super::batch::{Batch, BatchFormat};
use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{json, json_bytes};
use super::params;
use super::problem::Problem;
use crate::limits::{BATCH_ITEM_BYTES, MAX_IDEMPOTENCY_KEY};
use crate::message::{Draft, FieldError, ParameterError, format_micros, idempotency_id};
use crate::services::messages::{Accepted as Published, Messages, Receipt};
use crate::services::{Code, Error, Report, Services};

/// The path to post messages and to read history.
pub(super) const PATH: &str = "/v1/messages";
/// Bytes that suffice for most responses.
const RESPONSE_BYTES: usize = 320;

/// The response to one accepted message.
#[derive(Serialize)]
struct Accepted<'a> {
    seq: u64,
    id: Uuid,
    subject: &'a str,
    created_at: &'a str,
    duplicate: bool,
    durability: &'static str,
    #[serde(skip_serializing_if = "<[Report]>::is_empty")]
    warnings: &'a [Report],
}

/// The result of one message in a batch.
#[derive(Serialize)]
struct AcceptedItem {
    status: u16,
    seq: u64,
    id: Uuid,
    duplicate: bool,
    durability: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Report>,
}

/// `stored` or `committed` (contract, section 3, Acks).
fn durability(receipt: &Receipt) -> &'static str {
    if receipt.committed { "committed" } else { "stored" }
}

/// Publishes one message.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "Messages",
    params(described::PublishOptions, described::IdempotencyKey),
    request_body = schemas::NewMessage,
    responses((status = 201, description = "The server has the message.", body = schemas::Receipt), (status = 200, description = "The message was there already; or, with `reply_within`, its reply has come.", body = schemas::RepeatOrReply)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::SchemaViolation, Code::Forbidden, Code::IdempotencyConflict, Code::NoReply, Code::BusUnavailable, Code::StoreBehind, Code::Draining]))),
)]
pub(super) async fn create(
    State(services): State<Services>,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<Response, Problem> {
    publish(&services, query.as_deref(), body).await
}

/// Publishes the message in a request. Also called without the router, by the shortcut of the app.
pub(super) async fn publish<B>(
    services: &Services,
    query: Option<&str>,
    body: RequestBody<B>,
) -> Result<Response, Problem>
where
    B: hyper::body::Body<Data = Bytes, Error: Display> + Unpin,
{
    let (level, reply_within) = params::post(query)?;
    let key = idempotency_key(body.headers())?.map(str::to_owned);
    let context = body.context().clone();
    let json = body.json().await?;
    let draft = Messages::read(context.principal(), &json)?;
    let draft = identified(draft, key.as_deref())?.traced(context.trace());
    let permit = json.into_permit();
    if let Some(within) = reply_within {
        // Boxed, so that requests without a reply do not carry the size of this future.
        return Box::pin(ask::ask(services, context, permit, draft, level, within)).await;
    }
    let accepted = services.messages.publish(context.principal(), draft, level).await?;
    Ok(respond(&accepted))
}

/// Publishes a batch, with one result for each message, in input order.
#[utoipa::path(
    post,
    path = "/v1/messages/batch",
    tag = "Messages",
    params(described::BatchOptions),
    request_body(description = "A JSON array, or one item a line; at most 1,000 items and 8 MiB.", content((Vec<schemas::NewMessage> = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "One result for each message, in their order.", body = schemas::BatchResults)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::BusUnavailable, Code::StoreBehind, Code::Draining]))),
)]
pub(super) async fn create_batch(
    State(services): State<Services>,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<Response, Problem> {
    let format = BatchFormat::of(body.headers())?;
    let level = params::post_batch(query.as_deref())?;
    if idempotency_key(body.headers())?.is_some() {
        return Err(invalid_key(
            "is for one message: set the id of each message in a batch instead",
        )
        .into());
    }
    let context = body.context().clone();
    let body = body.read().await?;
    let read = |json: &[u8]| Ok(Messages::read(context.principal(), json)?.traced(context.trace()));
    let mut batch = Batch::parse(format, &body, "messages", read).await?;
    // The drafts count as memory until they are published.
    let mut permit = body.into_permit();
    permit.grow(batch.items.len() * BATCH_ITEM_BYTES)?;
    let drafts = std::mem::take(&mut batch.items);
    let accepted = services.messages.publish_all(context.principal(), drafts, level).await;
    let results =
        batch.results(context.id(), accepted, |Published { receipt, warnings }| AcceptedItem {
            status: if receipt.duplicate { 200 } else { 201 },
            seq: receipt.seq,
            id: receipt.id,
            duplicate: receipt.duplicate,
            durability: durability(&receipt),
            warnings,
        })?;
    Ok(json(&results))
}

/// The value of `Idempotency-Key`, if the header is present.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_key("must not be repeated"));
    }
    match value.to_str() {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => Err(invalid_key("must be 1 to 255 visible ASCII characters")),
    }
}

fn invalid_key(detail: &str) -> Error {
    let (parameter, detail) = ("Idempotency-Key".to_owned(), detail.to_owned());
    Error::parameters(vec![ParameterError { parameter, detail }])
}

/// Gives the draft the id that derives from the idempotency key.
fn identified(draft: Draft, key: Option<&str>) -> Result<Draft, Error> {
    match key {
        None => Ok(draft),
        Some(_) if draft.id().is_some() => Err(Error::message(vec![FieldError {
            pointer: "/id".to_owned(),
            detail: "must not be sent together with an Idempotency-Key".to_owned(),
        }])),
        Some(key) => {
            let id = idempotency_id(draft.sender_id(), key);
            Ok(draft.with_id(id))
        }
    }
}

fn respond(Published { receipt, warnings }: &Published) -> Response {
    let accepted = Accepted {
        seq: receipt.seq,
        id: receipt.id,
        subject: receipt.subject.as_str(),
        created_at: &format_micros(receipt.created_at),
        duplicate: receipt.duplicate,
        durability: durability(receipt),
        warnings,
    };
    let mut body = Vec::with_capacity(RESPONSE_BYTES);
    let _ = serde_json::to_writer(&mut body, &accepted);
    let mut response = json_bytes(body);
    *response.status_mut() = if receipt.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    // Built without `format!`, which would allocate.
    let mut location = [b'/'; PATH.len() + 1 + uuid::fmt::Hyphenated::LENGTH];
    location[..PATH.len()].copy_from_slice(PATH.as_bytes());
    receipt.id.hyphenated().encode_lower(&mut location[PATH.len() + 1..]);
    if let Ok(location) = HeaderValue::from_bytes(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
