//! `/v1/keys`: make, list, change, rotate, revoke (contract, section 11).

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{created, json};
use super::params::NoParams;
use super::path::Segment;
use super::problem::Problem;
use super::request::Call;
use crate::services::keys::{Key, KeyChange, Keys, NewKey, parse_overlap};
use crate::services::{Code, Error};

#[derive(Serialize)]
struct KeyList {
    keys: Vec<Key>,
}

/// Makes a key, and shows it once.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "Access",
    request_body = schemas::NewKey,
    responses((status = 201, description = "The key. Its secret is shown once.", body = schemas::Key)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::TooManyKeys, Code::StoreUnavailable]))),
)]
pub(super) async fn create(
    Call { services, context }: Call,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let new = NewKey::parse(&body.json().await?)?;
    let key = services.keys.create(context.principal(), new).await?;
    Ok(secret(created(&format!("/v1/keys/{}", key.id), json(&key))))
}

/// All keys.
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "Access",
    responses((status = 200, description = "All keys.", body = schemas::KeyList)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn list(
    Call { services, context }: Call,
    _: NoParams,
) -> Result<Response, Problem> {
    let keys = services.keys.all(context.principal()).await?;
    Ok(json(&KeyList { keys }))
}

/// One key.
#[utoipa::path(
    get,
    path = "/v1/keys/{id}",
    tag = "Access",
    params(described::KeyId),
    responses((status = 200, description = "The key.", body = schemas::Key)),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    Ok(json(&services.keys.one(context.principal(), &id_of(id)?).await?))
}

/// Changes a key.
#[utoipa::path(
    patch,
    path = "/v1/keys/{id}",
    tag = "Access",
    params(described::KeyId),
    request_body = schemas::KeyChange,
    responses((status = 200, description = "The key.", body = schemas::Key)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn change(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let change = KeyChange::parse(&body.json().await?)?;
    Ok(json(&services.keys.change(context.principal(), &id_of(id)?, &change).await?))
}

/// Replaces the secret of a key, and shows the new one once.
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/rotate",
    tag = "Access",
    params(described::KeyId),
    request_body = Option<schemas::Rotation>,
    responses((status = 200, description = "The new secret. It is shown once.", body = schemas::RotatedKey)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn rotate(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let overlap = parse_overlap(&body.optional_json().await?)?;
    let rotated = services.keys.rotate(context.principal(), &id_of(id)?, overlap).await?;
    Ok(secret(json(&rotated)))
}

/// Revokes a key.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "Access",
    params(described::KeyId),
    responses((status = 204, description = "The key is revoked.")),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn revoke(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    body.ignore().await?;
    services.keys.revoke(context.principal(), &id_of(id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps a response that contains a secret out of caches.
pub(super) fn secret(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn id_of(id: Segment) -> Result<String, Error> {
    id.map(|Path(id)| id).map_err(|_| Keys::missing())
}
