//! Errors as the client sees them: RFC 9457 problems with a stable `code`.
//!
//! Invariant: every error of the API is made here, and the inner cause is
//! logged, never returned.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::shares::{Pool, Refused};
use crate::bus::PublishError;
use crate::dead_letters::LetterError;
use crate::ingest::IngestError;
use crate::limits::RETRY_AFTER_S;
use crate::message::{DraftError, FieldError, ParameterError};
use crate::queues::QueueError;
use crate::store::StoreError;
use crate::webhooks::WebhookError;

/// One problem. Its type is `about:blank`: `code` tells kinds apart.
#[derive(Clone, Debug, Serialize)]
pub struct Problem(Box<Members>);

#[derive(Clone, Debug, Serialize)]
struct Members {
    #[serde(rename = "type")]
    type_: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// One fault of a body or a query.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Members {
            type_: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            id: None,
            seq: None,
            outcome: None,
        }))
    }

    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The query string breaks these rules.
    pub fn parameters(errors: Vec<ParameterError>) -> Self {
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_parameter",
            "the query has invalid or unknown parameters",
        );
        problem.0.errors = errors
            .into_iter()
            .map(|e| Fault { pointer: None, parameter: Some(e.parameter), detail: e.detail })
            .collect();
        problem
    }

    /// The message breaks these rules.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        Self::pointing(errors, "invalid_message", "the message breaks the rules of the envelope")
    }

    /// Another body than a message breaks these rules.
    pub fn members(errors: Vec<FieldError>) -> Self {
        Self::pointing(errors, "invalid_body", "the body has invalid, missing or unknown members")
    }

    /// Another body than a message is no JSON, or no object.
    pub fn body(error: DraftError) -> Self {
        match error {
            DraftError::Invalid(errors) => Self::members(errors),
            syntax @ DraftError::Syntax { .. } => syntax.into(),
        }
    }

    fn pointing(errors: Vec<FieldError>, code: &'static str, detail: &str) -> Self {
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        problem.0.errors = errors
            .into_iter()
            .map(|e| Fault { pointer: Some(e.pointer), parameter: None, detail: e.detail })
            .collect();
        problem
    }

    /// A name in the path breaks its rule.
    pub fn name(what: &str, rule: &str) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_name",
            format!("the name of a {what} {rule}"),
        )
    }

    /// Says of what a body's faults are, where it is no message.
    pub fn of(mut self, what: &str) -> Self {
        if self.0.code == "invalid_message" && !self.0.errors.is_empty() {
            self.0.detail = format!("the {what} breaks these rules");
        }
        self
    }

    /// A fault of ours: `fault` goes to the log alone.
    pub fn internal(fault: &str) -> Self {
        tracing::error!(fault, "a request met a fault inside the server");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal_error", "an error inside the server")
    }

    /// Too much at once.
    pub fn overloaded(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    /// The body is larger than is read.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    }

    /// Names the message, and whether it may be in the log all the same.
    fn about(mut self, id: Uuid, outcome: Option<&'static str>) -> Self {
        self.0.id = Some(id);
        self.0.outcome = outcome;
        self
    }

    /// Names the message and its place in the log.
    pub fn of_message(mut self, id: Uuid, seq: u64) -> Self {
        self.0.id = Some(id);
        self.0.seq = Some(seq);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What stands beside the status in a batch's results.
    pub fn into_item(self) -> ItemError {
        let Members { code, detail, errors, id, seq, outcome, .. } = *self.0;
        ItemError { code, detail, errors, id, seq, outcome }
    }
}

/// A problem inside a batch's results.
#[derive(Clone, Debug, Serialize)]
pub struct ItemError {
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::Syntax { line, column, detail } => Self::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("line {line}, column {column}: {detail}"),
            ),
            DraftError::Invalid(errors) => Self::fields(errors),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        let unavailable = |code| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail.clone());
        match error {
            IngestError::TooLarge { .. } => Self::too_large(detail),
            IngestError::Conflict { id, seq } => {
                let mut problem = Self::new(StatusCode::CONFLICT, "idempotency_conflict", detail);
                problem.0.seq = Some(seq);
                problem.about(id, None)
            }
            IngestError::Bus { id, source: PublishError::NotSent(_) } => {
                unavailable("bus_unavailable").about(id, Some("not_sent"))
            }
            IngestError::Bus { id, source: PublishError::Unknown(_) } => {
                unavailable("bus_unavailable").about(id, Some("unknown"))
            }
            IngestError::StoreBehind { id } => {
                unavailable("store_behind").about(id, Some("not_sent"))
            }
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let detail = error.to_string();
        let told = |status, code| Self::new(status, code, detail.clone());
        match error {
            QueueError::TooLarge { .. } => Self::too_large(detail),
            QueueError::Conflict { id, seq } => {
                let mut problem = told(StatusCode::CONFLICT, "idempotency_conflict");
                problem.0.seq = Some(seq);
                problem.about(id, None)
            }
            QueueError::LeaseLost => told(StatusCode::GONE, "lease_lost"),
            QueueError::InvalidToken => told(StatusCode::UNPROCESSABLE_ENTITY, "invalid_token"),
            QueueError::Undecodable => told(StatusCode::UNPROCESSABLE_ENTITY, "undecodable_job"),
            QueueError::TooManyQueues => told(StatusCode::CONFLICT, "too_many_queues"),
            QueueError::QueueNotEmpty => told(StatusCode::CONFLICT, "queue_not_empty"),
            QueueError::QueueLeased => told(StatusCode::CONFLICT, "queue_leased"),
            QueueError::NoDelay(_) => told(StatusCode::NOT_IMPLEMENTED, "delay_unsupported"),
            QueueError::Bus { id, source: PublishError::NotSent(_) } => {
                told(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable").about(id, Some("not_sent"))
            }
            QueueError::Bus { id, source: PublishError::Unknown(_) } => {
                told(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable").about(id, Some("unknown"))
            }
            QueueError::BusUnavailable(_) => {
                told(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable")
            }
            QueueError::Store(error) => Self::from(error),
            QueueError::Overloaded => told(StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        }
    }
}

impl From<Refused> for Problem {
    fn from(Refused(pool): Refused) -> Self {
        Self::overloaded(match pool {
            Pool::Requests => "more requests at once than this server works on",
            Pool::Bodies => "too many request bodies at once",
            Pool::Answers => "too many answers at once that are not read",
            Pool::Replies => "too many requests at once that wait for a reply",
            Pool::Streams => "too many streams and waiting requests at once",
            Pool::Connections => "too many connections at once",
        })
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store could not be asked");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "the store cannot be asked now",
        )
    }
}

impl From<LetterError> for Problem {
    fn from(error: LetterError) -> Self {
        match error {
            LetterError::Store(error) => error.into(),
            LetterError::Queue(error @ QueueError::TooManyQueues) => error.into(),
            LetterError::Queue(_) => {
                tracing::warn!(%error, "a dead letter was not redriven");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "bus_unavailable",
                    "not every job could be given back to its queue now; ask again",
                )
            }
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::TooMany => {
                Self::new(StatusCode::CONFLICT, "too_many_webhooks", error.to_string())
            }
            WebhookError::NoSecret => Self::overloaded("no secret could be made now"),
            WebhookError::Store(error) => error.into(),
            WebhookError::Control(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}
