//! `/livez`, `/readyz` and `/v1/status`.

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::describe::{params as described, schemas};
use super::encode::json;
use super::params::{self, NoParams};
use super::problem::Problem;
use super::request::Call;
use crate::services::Code;

/// Responds whenever the process runs. Checks nothing else, since a restart helps against no other fault.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "Server",
    responses((status = 200, description = "The process runs.", body = String, content_type = "text/plain; charset=utf-8")),
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Responds 200 if the server can publish, else 503 with the reasons.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Server",
    params(described::ReadinessOptions),
    responses((status = 200, description = "The server can publish.", content((schemas::Readiness = "application/json"), (String = "text/plain; charset=utf-8"))), (status = 503, description = "The server cannot publish.", content((schemas::Problem = "application/problem+json"), (schemas::Readiness = "application/json")))),
    extensions(("x-codes" = json!([Code::Forbidden, Code::NotReady, Code::Unauthenticated]))),
)]
pub(super) async fn readyz(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let verbose = params::verbose(query.as_deref())?;
    let readiness = services.health.readiness(context.principal(), verbose).await?;
    let ready = readiness.ready;
    if verbose {
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return Ok((status, json(&readiness)).into_response());
    }
    if ready {
        return Ok("ok\n".into_response());
    }
    let reasons = readiness.reasons();
    Err(Problem::new(Code::NotReady, reasons))
}

/// Version, parts and readiness of this server.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "Server",
    responses((status = 200, description = "The status of this server.", body = schemas::Status)),
)]
pub(super) async fn status(
    Call { services, context }: Call,
    _: NoParams,
) -> Result<Response, Problem> {
    Ok(json(&services.health.status(context.principal()).await?))
}
