//! `/v1/webhooks` (contract, section 10).

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{created, json};
use super::params::NoParams;
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::message::ObjectReader;
use crate::services::webhooks::{Webhook, Webhooks};
use crate::services::{Code, Error};

#[derive(Serialize)]
struct WebhookList {
    webhooks: Vec<Webhook>,
}

/// Creates a webhook.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    tag = "Processing",
    request_body = schemas::NewWebhook,
    responses((status = 201, description = "The webhook, with its secret.", body = schemas::Webhook)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::TooManyWebhooks, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn create(
    Call { services, context }: Call,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let webhook = services.webhooks.create(context.principal(), &body.json().await?).await?;
    Ok(created(&format!("/v1/webhooks/{}", webhook.id), json(&webhook)))
}

/// All webhooks, oldest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    tag = "Processing",
    responses((status = 200, description = "All webhooks.", body = schemas::WebhookList)),
    extensions(("x-codes" = json!([Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn list(
    Call { services, context }: Call,
    _: NoParams,
) -> Result<Response, Problem> {
    let webhooks = services.webhooks.all(context.principal()).await?;
    Ok(json(&WebhookList { webhooks }))
}

/// One webhook.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    tag = "Processing",
    params(described::WebhookId),
    responses((status = 200, description = "The webhook.", body = schemas::Webhook)),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    Ok(json(&services.webhooks.one(context.principal(), id_of(id)?).await?))
}

/// Pauses or resumes a webhook.
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    tag = "Processing",
    params(described::WebhookId),
    request_body = schemas::WebhookChange,
    responses((status = 200, description = "The webhook.", body = schemas::Webhook)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn change(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let id = id_of(id)?;
    let pause = wants_pause(&body.json().await?)?;
    Ok(json(&services.webhooks.set_paused(context.principal(), id, pause).await?))
}

/// Deletes a webhook.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    tag = "Processing",
    params(described::WebhookId),
    responses((status = 204, description = "The webhook is deleted.")),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn remove(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    body.ignore().await?;
    services.webhooks.remove(context.principal(), id_of(id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The value of `paused` in the body of a PATCH.
fn wants_pause(body: &[u8]) -> Result<bool, Error> {
    let mut form = ObjectReader::parse(body).map_err(Error::unreadable_body)?;
    let is_given = form.has("state") || form.has("paused");
    let state = form.text("state", |state| match state {
        "paused" => Ok(true),
        "active" => Ok(false),
        _ => Err("must be paused or active"),
    });
    let paused = form.take::<bool>("paused", "must be true or false");
    if !is_given {
        form.fail("state", "is required: paused or active");
    }
    for fixed in ["url", "filter", "secret"] {
        if form.take::<serde_json::Value>(fixed, "cannot be changed").is_some() {
            form.fail(fixed, "cannot be changed: create another webhook");
        }
    }
    if state.is_some() && paused.is_some() {
        form.fail("paused", "says the same as state: give one of them");
    }
    form.finish("this body", state.or(paused)).map_err(Error::unreadable_body)
}

fn id_of(id: Segment) -> Result<Uuid, Error> {
    path::uuid(id).ok_or_else(Webhooks::missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_pause_or_its_end() {
        let change = |body: &str| wants_pause(body.as_bytes()).ok();
        assert_eq!(change(r#"{"state":"paused"}"#), Some(true));
        assert_eq!(change(r#"{"paused":false}"#), Some(false));
        for bad in [
            "{}",
            r#"{"state":"active","paused":false}"#,
            r#"{"state":"off"}"#,
            r#"{"paused":"yes"}"#,
            r#"{"state":"paused","url":"https://a.example"}"#,
            r#"{"paused":true,"x":1}"#,
        ] {
            assert_eq!(change(bad), None, "{bad}");
        }
    }
}
