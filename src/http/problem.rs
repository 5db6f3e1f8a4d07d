//! Error responses: RFC 9457 problem documents with a stable `code`.
//!
//! Invariant: every error response is built here. Its inner cause is logged with the id of the request, never
//! returned.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::request_id::RequestId;
use super::shares::{Pool, Refused};
use crate::limits::RETRY_AFTER_S;
use crate::message::BodyError;
use crate::services::{Code, Error, ErrorKind, Report};

/// A problem. Its `type` is always `about:blank`; `code` says which problem it is.
#[derive(Clone, Debug)]
pub struct Problem {
    report: Box<Report>,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

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
    /// A problem found by the HTTP layer itself; errors of services are converted with [`From`].
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { report: Box::new(Report::new(code, detail)) }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        status(self.report.code)
    }

    /// Adds the id of the message and its sequence.
    pub(super) fn at(mut self, id: Uuid, seq: u64) -> Self {
        (self.report.id, self.report.seq) = (Some(id), Some(seq));
        self
    }

    /// The problem document as JSON.
    pub(super) fn document(&self, id: &RequestId) -> Vec<u8> {
        let status = self.status();
        let document = Document {
            type_: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            report: &self.report,
            request_id: id.to_string(),
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The HTTP status for a code.
pub(super) fn status(code: Code) -> StatusCode {
    match code {
        Code::UriTooLong => StatusCode::URI_TOO_LONG,
        Code::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
        _ => status_of_kind(code.kind()),
    }
}

fn status_of_kind(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Malformed => StatusCode::BAD_REQUEST,
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::LimitExceeded => StatusCode::TOO_MANY_REQUESTS,
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
        Self { report: error.report }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Error::from(error).into()
    }
}

impl From<Refused> for Problem {
    fn from(Refused { pool, over_share_of_key }: Refused) -> Self {
        if over_share_of_key {
            let detail =
                "this key has more than its share of what the server has; others need the rest";
            return Error::over_limit(pool.name(), RETRY_AFTER_S, detail).into();
        }
        let detail = match pool {
            Pool::Requests => "too many requests at once",
            Pool::Bodies => "too many request bodies at once",
            Pool::Responses => "too many responses that clients have not read yet",
            Pool::Replies => "too many requests at once that wait for a reply",
            Pool::Streams => "too many streams and waiting requests at once",
            Pool::Connections => "too many connections at once",
        };
        Error::overloaded(detail).into()
    }
}

impl IntoResponse for Problem {
    /// Makes the head of the response. [`finish`] adds the body, which needs the id of the request.
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(over) = self.report.over {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(over.retry_after_s));
            // draft-ietf-httpapi-ratelimit-headers: what is left, and the seconds until more is.
            let left = format!("\"{}\";r=0;t={}", over.limit, over.retry_after_s);
            headers.extend(HeaderValue::from_str(&left).map(|left| (RATE_LIMIT, left)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The grant that the caller of a refused request lacks.
pub(super) fn needs(response: &Response) -> Option<&str> {
    response.extensions().get::<Problem>()?.report.needs.as_deref()
}

/// Removes the problem from a response, if it has one, logs its cause, and returns it.
pub(super) fn take(response: &mut Response, id: &RequestId) -> Option<Problem> {
    let problem = response.extensions_mut().remove::<Problem>()?;
    log_cause(&problem.report, id);
    Some(problem)
}

/// Adds the body of a problem.
pub(super) fn finish(response: &mut Response, id: &RequestId, method: &Method) {
    let Some(problem) = take(response, id) else { return };
    let document = problem.document(id);
    // axum has set the length of the empty body already.
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(document.len()));
    *response.body_mut() =
        if method == Method::HEAD { Body::empty() } else { Body::from(document) };
}

/// Logs the inner cause of an error, which the response does not show.
pub(super) fn log_cause(report: &Report, id: &RequestId) {
    let Some(cause) = &report.cause else { return };
    let (code, request_id) = (report.code.as_str(), tracing::field::display(id));
    if report.code == Code::InternalError {
        tracing::error!(
            code,
            cause,
            request_id,
            "a request failed by a defect of the server; report it"
        );
    } else {
        tracing::warn!(code, cause, request_id, "a request failed");
    }
}
