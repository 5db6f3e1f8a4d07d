//! `GET /v1/messages`, `GET /v1/messages/{id}`: history; and its erasure.

use axum::extract::RawQuery;
use axum::response::Response;

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode;
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::services::erasures::Reason;
use crate::services::history::History;
use crate::services::{Code, Error};

/// A page of committed messages.
#[utoipa::path(
    get,
    path = "/v1/messages",
    tag = "Messages",
    params(described::Filters, described::HistoryRange),
    responses((status = 200, description = "A page of messages.", body = schemas::MessagePage)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (query, contains) = params::history(query.as_deref())?;
    let page = services.history.page(context.principal(), query, contains.as_deref()).await?;
    Ok(encode::page(&page))
}

/// One message by its id.
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    tag = "Messages",
    params(described::MessageId),
    responses((status = 200, description = "The message; of two with this id, the one with the lower sequence.", body = schemas::Message)),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let id = path::uuid(id).ok_or_else(History::missing)?;
    let message = services.history.one(context.principal(), id).await?;
    Ok(encode::message(message.seq, &message.body))
}

/// Erases a message: its `content` and `metadata`, everywhere, for good. Its other members stay, and its sequence.
#[utoipa::path(
    post,
    path = "/v1/messages/{id}/erase",
    tag = "Messages",
    params(described::MessageId),
    request_body = schemas::ErasureReason,
    responses((status = 200, description = "It is erased; of several messages with this id all are, and `seq` is the lowest.", body = schemas::ErasedMessage)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::NotCommitted, Code::BusUnavailable, Code::StoreUnavailable]))),
)]
pub(super) async fn erase(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let id = path::uuid(id);
    let body = body.json().await?;
    let reason = Reason::parse(&body).map_err(Error::unreadable_body)?;
    let id = id.ok_or_else(History::missing)?;
    Ok(encode::json(&services.erasures.erase(context.principal(), id, reason).await?))
}
