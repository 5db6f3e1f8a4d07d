//! `GET /v1/stats` and `GET /metrics`.

use axum::extract::RawQuery;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::describe::{params as described, schemas};
use super::encode::json;
use super::params;
use super::problem::Problem;
use super::request::Call;
use crate::services::Code;

/// Counts of the log, and the positions of the server's components in it.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "Server",
    params(described::StatsFilter),
    responses((status = 200, description = "The counters.", body = schemas::Stats)),
    extensions(("x-codes" = json!([Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn stats(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let task = params::stats(query.as_deref())?;
    Ok(json(&services.stats.snapshot(context.principal(), task.as_ref()).await?))
}

/// Metrics in Prometheus text format 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Server",
    responses((status = 200, description = "Metrics in the text format of Prometheus.", body = String, content_type = "text/plain; version=0.0.4; charset=utf-8")),
)]
pub(super) async fn metrics(Call { services, context }: Call) -> Result<Response, Problem> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text = services.stats.metrics(context.principal())?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}
