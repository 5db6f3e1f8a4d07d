//! `/v1/schemas` (contract, section 13).

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{created, json};
use super::params::{self, NoParams};
use super::path::{self, Segments};
use super::problem::Problem;
use super::request::Call;
use crate::services::Code;
use crate::services::schemas::{NewSchema, Schema};

#[derive(Serialize)]
struct SchemaList {
    schemas: Vec<Schema>,
}

#[derive(Serialize)]
struct VersionList {
    versions: Vec<Schema>,
}

#[derive(Serialize)]
struct Incompatible {
    incompatible: usize,
}

/// Makes a version of a schema, or tries it on the last messages.
#[utoipa::path(
    put,
    path = "/v1/schemas/{kind}/{type}",
    tag = "Schemas",
    params(described::KindAndType, described::SchemaCheck),
    request_body = schemas::NewPayloadSchema,
    responses((status = 201, description = "The first version was made.", body = schemas::PayloadSchema), (status = 200, description = "A new version was made, or it was tried.", body = schemas::VersionOrCheck)),
    extensions(("x-codes" = json!([Code::InvalidBody, Code::InvalidName, Code::NotFound, Code::TooManySchemas, Code::StoreUnavailable]))),
)]
pub(super) async fn put(
    Call { services, context }: Call,
    names: Segments,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<Response, Problem> {
    let check = params::check(query.as_deref())?;
    let (kind, type_) = path::kind_and_type(names)?;
    let new = NewSchema::parse(&body.json().await?)?;
    if check {
        let incompatible = services.schemas.check(context.principal(), kind, &type_, new).await?;
        return Ok(json(&Incompatible { incompatible }));
    }
    let schema = services.schemas.put(context.principal(), kind, &type_, new).await?;
    let response = json(&schema);
    Ok(match schema.is_first() {
        true => created(&format!("/v1/schemas/{}/{type_}", kind.as_str()), response),
        false => response,
    })
}

/// The newest version of each schema, without the schemas themselves.
#[utoipa::path(
    get,
    path = "/v1/schemas",
    tag = "Schemas",
    responses((status = 200, description = "The newest versions.", body = schemas::PayloadSchemaList)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn list(
    Call { services, context }: Call,
    _: NoParams,
) -> Result<Response, Problem> {
    let schemas = services.schemas.all(context.principal()).await?;
    Ok(json(&SchemaList { schemas }))
}

/// The newest version of one schema.
#[utoipa::path(
    get,
    path = "/v1/schemas/{kind}/{type}",
    tag = "Schemas",
    params(described::KindAndType),
    responses((status = 200, description = "The newest version.", body = schemas::PayloadSchema)),
    extensions(("x-codes" = json!([Code::InvalidName, Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    names: Segments,
    _: NoParams,
) -> Result<Response, Problem> {
    let (kind, type_) = path::kind_and_type(names)?;
    Ok(json(&services.schemas.one(context.principal(), kind, &type_).await?))
}

/// All versions of one schema that are kept, newest first.
#[utoipa::path(
    get,
    path = "/v1/schemas/{kind}/{type}/versions",
    tag = "Schemas",
    params(described::KindAndType),
    responses((status = 200, description = "All versions that are kept.", body = schemas::PayloadSchemaVersions)),
    extensions(("x-codes" = json!([Code::InvalidName, Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn versions(
    Call { services, context }: Call,
    names: Segments,
    _: NoParams,
) -> Result<Response, Problem> {
    let (kind, type_) = path::kind_and_type(names)?;
    let versions = services.schemas.versions(context.principal(), kind, &type_).await?;
    Ok(json(&VersionList { versions }))
}

/// Deletes a schema with all its versions.
#[utoipa::path(
    delete,
    path = "/v1/schemas/{kind}/{type}",
    tag = "Schemas",
    params(described::KindAndType),
    responses((status = 204, description = "The schema is deleted.")),
    extensions(("x-codes" = json!([Code::InvalidName, Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn delete(
    Call { services, context }: Call,
    names: Segments,
    _: NoParams,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    let (kind, type_) = path::kind_and_type(names)?;
    body.ignore().await?;
    services.schemas.delete(context.principal(), kind, &type_).await?;
    Ok(StatusCode::NO_CONTENT)
}
