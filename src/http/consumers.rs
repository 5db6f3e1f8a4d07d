//! `/v1/consumers`: list, pause, resume, reset (contract, section 10).

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::json;
use super::params::{NoParams, SEQUENCE_RULE};
use super::path::Segment;
use super::problem::Problem;
use super::request::Call;
use crate::message::ObjectReader;
use crate::services::consumers::{Consumer, Consumers};
use crate::services::{Code, Error};

#[derive(Serialize)]
struct ConsumerList {
    consumers: Vec<Consumer>,
}

/// All consumers.
#[utoipa::path(
    get,
    path = "/v1/consumers",
    tag = "Processing",
    responses((status = 200, description = "All consumers.", body = schemas::ConsumerList)),
    extensions(("x-codes" = json!([Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn list(
    Call { services, context }: Call,
    _: NoParams,
) -> Result<Response, Problem> {
    let consumers = services.consumers.all(context.principal()).await?;
    Ok(json(&ConsumerList { consumers }))
}

/// Pauses a consumer: it starts no more handlers, and those that run finish.
#[utoipa::path(
    post,
    path = "/v1/consumers/{name}/pause",
    tag = "Processing",
    params(described::ConsumerName),
    request_body = Option<schemas::PauseRequest>,
    responses((status = 200, description = "The consumer.", body = schemas::Consumer)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn pause(
    Call { services, context }: Call,
    name: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let name = named(name)?;
    let body = body.optional_json().await?;
    let mut form = ObjectReader::parse_optional(&body).map_err(Error::unreadable_body)?;
    let reason = form.text("reason", |text| match text {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    });
    form.end().map_err(Error::unreadable_body)?;
    Ok(json(&services.consumers.pause(context.principal(), &name, reason.as_deref()).await?))
}

/// Resumes a paused consumer.
#[utoipa::path(
    post,
    path = "/v1/consumers/{name}/resume",
    tag = "Processing",
    params(described::ConsumerName),
    request_body = Option<schemas::Nothing>,
    responses((status = 200, description = "The consumer.", body = schemas::Consumer)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn resume(
    Call { services, context }: Call,
    name: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let name = named(name)?;
    let body = body.optional_json().await?;
    let form = ObjectReader::parse_optional(&body).and_then(ObjectReader::end);
    form.map_err(Error::unreadable_body)?;
    Ok(json(&services.consumers.resume(context.principal(), &name).await?))
}

/// Moves the position of a consumer: back to process messages again, or ahead to skip some.
#[utoipa::path(
    post,
    path = "/v1/consumers/{name}/reset",
    tag = "Processing",
    params(described::ConsumerName),
    request_body = schemas::ResetRequest,
    responses((status = 200, description = "The consumer.", body = schemas::Consumer)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn reset(
    Call { services, context }: Call,
    name: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let name = named(name)?;
    let body = body.optional_json().await?;
    let mut form = ObjectReader::parse_optional(&body).map_err(Error::unreadable_body)?;
    let from = form.required::<u64>("from", SEQUENCE_RULE);
    let from = form.finish("this body", from).map_err(Error::unreadable_body)?;
    Ok(json(&services.consumers.reset(context.principal(), &name, from).await?))
}

fn named(name: Segment) -> Result<String, Error> {
    let Path(name) = name.map_err(|_| Consumers::missing())?;
    Ok(name)
}
