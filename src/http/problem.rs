//! Errors as the client sees them: RFC 9457 problems with a stable `code`.
//!
//! Invariant: every error response is made here; its inner cause is logged with the request's id, never returned.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::request_id::RequestId;
use super::shares::{Pool, Refused};
use crate::limits::RETRY_AFTER_S;
use crate::message::DraftError;
use crate::services::{Error, ErrorKind, Report};

/// One problem. Its type is `about:blank`: `code` tells kinds apart.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    report: Box<Report>,
}

/// The problem document.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    title: &'static str,
    status: u16,
    #[serde(flatten)]
    report: &'a Report,
    request_id: String,
}

impl Problem {
    /// A problem of HTTP itself; those of services come by [`From`].
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, report: Box::new(Report::new(code, detail)) }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Adds the message and its sequence.
    pub(super) fn at(mut self, id: Uuid, seq: u64) -> Self {
        (self.report.id, self.report.seq) = (Some(id), Some(seq));
        self
    }

    /// The problem document.
    pub(super) fn document(&self, id: &RequestId) -> Vec<u8> {
        let document = Document {
            type_: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            report: &self.report,
            request_id: id.to_string(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The HTTP status of a failed call.
pub(super) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Malformed => StatusCode::BAD_REQUEST,
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Gone => StatusCode::GONE,
        ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { status: status(error.kind), report: error.report }
    }
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        Error::from(error).into()
    }
}

impl From<Refused> for Problem {
    fn from(Refused(pool): Refused) -> Self {
        let detail = match pool {
            Pool::Requests => "more requests at once than this server works on",
            Pool::Bodies => "too many request bodies at once",
            Pool::Answers => "too many answers at once that are not read",
            Pool::Replies => "too many requests at once that wait for a reply",
            Pool::Streams => "too many streams and waiting requests at once",
            Pool::Connections => "too many connections at once",
        };
        Error::overloaded(detail).into()
    }
}

impl IntoResponse for Problem {
    /// All but the body, which [`finish`] adds: it names the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Takes the problem of a response out, if it is one, and logs its cause.
pub(super) fn take(response: &mut Response, id: &RequestId) -> Option<Problem> {
    let problem = response.extensions_mut().remove::<Problem>()?;
    log_cause(&problem.report, Some(id));
    Some(problem)
}

/// Gives a problem its body.
pub(super) fn finish(response: &mut Response, id: &RequestId, method: &Method) {
    let Some(problem) = take(response, id) else { return };
    let document = problem.document(id);
    // axum has seen an empty body.
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(document.len()));
    *response.body_mut() =
        if method == Method::HEAD { Body::empty() } else { Body::from(document) };
}

/// Logs why a call failed, where the caller does not learn it.
pub(super) fn log_cause(report: &Report, id: Option<&RequestId>) {
    let Some(cause) = &report.cause else { return };
    let (code, request_id) = (report.code, id.map(tracing::field::display));
    if code == "internal_error" {
        tracing::error!(code, cause, request_id, "a request met a fault inside the server");
    } else {
        tracing::warn!(code, cause, request_id, "a request failed");
    }
}
