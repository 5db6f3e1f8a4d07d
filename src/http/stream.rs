//! `GET /v1/stream`: Server-Sent Events (contract, section 4).
//!
//! The answer's head goes the way of every other; the events after it are a
//! [`Feed`]'s, which takes the connection over.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

use super::feed::Feed;
use super::handover::Handover;
use super::problem::Problem;
use super::{Api, Shared, params};
use crate::broadcast::Subscription;
use crate::message::Principal;

/// Opens a stream.
pub(super) async fn open(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    Extension(handover): Extension<Handover>,
    version: Version,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if api.draining.is_cancelled() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the server is stopping; come back to another one",
        ));
    }
    let resumed = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let (filter, start) = params::stream(query.as_deref(), resumed)?;
    let subscription =
        Subscription::new(Arc::clone(&api.broadcaster), &Principal::Anonymous, filter, start);
    let chunked = version >= Version::HTTP_11;
    Ok(respond(handover.body(Feed::new(api, subscription, chunked))))
}

fn respond(body: Body) -> Response {
    const HEADERS: [(header::HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (HEADERS, body).into_response()
}

/// Returns at a random point of the first half of the drain window, so that
/// clients do not come back all at once.
pub(super) async fn end_of_stream(api: Arc<Api>) {
    api.draining.cancelled().await;
    tokio::time::sleep(api.drain.mul_f64(fastrand::f64() / 2.0)).await;
}
