//! `GET /v1/stream`: Server-Sent Events (contract, section 4).
//!
//! The answer's head goes the way of every other; the events after it are a
//! [`Feed`]'s, which takes the connection over.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

use super::feed::Feed;
use super::handover::Handover;
use super::problem::Problem;
use super::work::Work;
use super::{Api, Shared, frame, params};
use crate::broadcast::Subscription;
use crate::message::Principal;

/// Opens a stream.
pub(super) async fn open(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    Extension(handover): Extension<Handover>,
    Extension(work): Extension<Work>,
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
    let standing_by = work.stand_by()?;
    let resumed = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let (filter, start) = params::stream(query.as_deref(), resumed)?;
    let subscription =
        Subscription::new(Arc::clone(&api.broadcaster), &Principal::Anonymous, filter, start);
    let chunked = version >= Version::HTTP_11;
    Ok(respond(handover.body(Feed::new(api, subscription, standing_by, chunked))))
}

fn respond(body: impl Into<Body>) -> Response {
    const HEADERS: [(header::HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (HEADERS, body.into()).into_response()
}

/// Whether a request comes from an `EventSource`, or from one that reads like it.
pub(super) fn wants_events<B>(request: &Request<B>) -> bool {
    request.method().is_safe()
        && request.headers().get_all(header::ACCEPT).iter().any(|accept| {
            let types = accept.to_str().unwrap_or_default().split(',');
            let mut essences = types.filter_map(|media_type| media_type.split(';').next());
            essences.any(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
        })
}

/// What an `EventSource` gets instead of a refusal that will pass: any status but 200 would stop it for good, so
/// it gets a stream that ends, and comes back with its cursor (contract, section 4). What the refusal says to pages of
/// other origins stays.
pub(super) fn unavailable(refusal: Response) -> Response {
    let (mut head, _) = refusal.into_parts();
    for name in [header::CONTENT_LENGTH, header::RETRY_AFTER] {
        head.headers.remove(name);
    }
    let (answer, body) = respond(frame::unavailable(frame::retry_millis())).into_parts();
    head.headers.extend(answer.headers);
    // An idle connection would take the place of one that comes back.
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.status = StatusCode::OK;
    Response::from_parts(head, body)
}

/// Returns at a random point of the first half of the drain window, so that
/// clients do not come back all at once.
pub(super) async fn end_of_stream(api: Arc<Api>) {
    api.draining.cancelled().await;
    tokio::time::sleep(api.drain.mul_f64(fastrand::f64() / 2.0)).await;
}
