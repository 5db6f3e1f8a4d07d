//! `GET /v1/stats` and `GET /metrics`.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::encode::json;
use super::params;
use super::problem::Problem;
use super::request::RequestContext;
use crate::services::Services;

/// Counts of the log, and the position of each part in it.
pub(super) async fn stats(
    State(services): State<Services>,
    context: RequestContext,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let task = params::stats(query.as_deref())?;
    Ok(json(&services.stats.snapshot(context.principal(), task.as_ref()).await?))
}

/// Prometheus text format 0.0.4.
pub(super) async fn metrics(State(services): State<Services>, context: RequestContext) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text = services.stats.metrics(context.principal()).await;
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}
