//! `GET /v1/stream`: Server-Sent Events (contract, section 4).
//!
//! hyper sends the head of the response, as for other responses. On a plain connection a [`StreamWriter`] then takes
//! the connection over and writes the events; over TLS they are an ordinary body.

use axum::Extension;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};

use super::cutoff::Cutoff;
use super::describe::params as described;
use super::frame;
use super::params;
use super::problem::{self, Problem};
use super::request::Call;
use super::request_id::RequestId;
use super::stream_body;
use super::stream_writer::StreamWriter;
use super::takeover::Takeover;
use crate::services::Code;

/// The path of streams.
pub(super) const PATH: &str = "/v1/stream";

/// The ticket in the query of a stream's request.
pub(super) fn ticket(uri: &Uri) -> Option<&str> {
    let query = uri.query().filter(|_| uri.path() == PATH)?;
    // A ticket has only characters that are never encoded.
    query.split('&').find_map(|pair| pair.strip_prefix("ticket="))
}

/// Opens a stream.
#[utoipa::path(
    get,
    path = "/v1/stream",
    tag = "Messages",
    params(described::Filters, described::StreamStart, described::LastEventId),
    responses((status = 200, description = "Server-Sent Events, as the AsyncAPI document describes them. While the server cannot serve the stream, a request that accepts `text/event-stream` gets one event `unavailable` and the end.", body = String, content_type = "text/event-stream")),
    extensions(("x-codes" = json!([Code::Draining]))),
)]
pub(super) async fn open(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
    takeover: Option<Extension<Takeover>>,
    cutoff: Option<Extension<Cutoff>>,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let permit = context.wait_permit()?;
    let resumed = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let (filter, start) = match ticket(&uri) {
        None => params::stream(query.as_deref(), resumed)?,
        Some(ticket) => {
            let start = params::stream_of_ticket(query.as_deref(), resumed)?;
            (services.auth.ticket_filter(ticket)?, start)
        }
    };
    let subscription = services.streams.open(context.principal(), filter, start)?;
    let drain = services.streams.drain();
    if let Some(Extension(takeover)) = takeover {
        let chunked = version >= Version::HTTP_11;
        let writer = StreamWriter::new(subscription, drain, permit, chunked);
        return Ok(respond(takeover.body(writer)));
    }
    if let Some(Extension(cutoff)) = cutoff {
        cutoff.with_credential(context.principal().watch_end());
    }
    let mut response = respond(stream_body::events(subscription, drain, permit));
    // No request follows a stream, as on a plain connection. (HTTP/2 has no such header.)
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

fn respond(body: impl Into<Body>) -> Response {
    const HEADERS: [(header::HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (HEADERS, body.into()).into_response()
}

/// Whether the client accepts `text/event-stream`, as an `EventSource` does.
pub(super) fn wants_events<B>(request: &Request<B>) -> bool {
    request.method().is_safe()
        && request.headers().get_all(header::ACCEPT).iter().any(|accept| {
            let types = accept.to_str().unwrap_or_default().split(',');
            let mut essences = types.filter_map(|media_type| media_type.split(';').next());
            essences.any(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
        })
}

/// The response to an `EventSource` in place of a temporary refusal. Any status other than 200 would stop the
/// `EventSource` for good; after a stream that ends it reconnects with its cursor (contract, section 4). The
/// CORS headers of the refusal stay.
pub(super) fn unavailable(mut refusal: Response, id: &RequestId) -> Response {
    problem::take(&mut refusal, id);
    let (mut head, _) = refusal.into_parts();
    for name in [header::CONTENT_LENGTH, header::RETRY_AFTER] {
        head.headers.remove(name);
    }
    let (stream, body) = respond(frame::unavailable(frame::retry_millis())).into_parts();
    head.headers.extend(stream.headers);
    // The connection is closed, since an idle one would use a permit that a reconnecting client needs.
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.status = StatusCode::OK;
    Response::from_parts(head, body)
}
