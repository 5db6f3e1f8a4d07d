//! `/livez`, `/readyz` and `/v1/status`.

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::encode::json;
use super::params::{self, NoParams};
use super::problem::Problem;
use super::request::Call;

/// Responds whenever the process runs. Checks nothing else, since a restart helps against no other fault.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Responds 200 if the server can publish, else 503 with the reasons.
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
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reasons))
}

/// Version, parts and readiness of this server.
pub(super) async fn status(
    Call { services, context }: Call,
    _: NoParams,
) -> Result<Response, Problem> {
    Ok(json(&services.health.status(context.principal()).await?))
}
