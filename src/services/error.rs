//! Errors of calls to services, as every surface (HTTP today) shows them to its callers.
//!
//! Invariant: codes never change. The surface logs the inner cause and never returns it.

use serde::Serialize;
use uuid::Uuid;

use super::code::{Code, ErrorKind};
use crate::access::{EndReason, Needs, Reached};
use crate::bus::PublishError;
use crate::ingest::IngestError;
use crate::limits::MAX_BATCH_ERRORS;
use crate::message::{BodyError, FieldError, ParameterError};
use crate::processor::ControlError;
use crate::queues::QueueError;
use crate::store::StoreError;
use crate::webhooks::WebhookError;

/// A failed call.
#[derive(Clone, Debug)]
pub struct Error {
    /// What the surface returns to the caller.
    pub report: Box<Report>,
}

/// The members of a failure that callers see, in a problem document or in an item of a batch's results.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The stable code.
    pub code: Code,
    /// The text for people.
    pub detail: String,
    /// Each invalid part of the input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<InvalidPart>,
    /// The id of the message or job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The sequence of the message or job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Whether the message may be in the log: `not_sent` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// The grant that the caller lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// The limit that the caller is over.
    #[serde(skip)]
    pub over: Option<LimitReached>,
    /// The inner cause, only for the log.
    #[serde(skip)]
    pub cause: Option<String>,
}

/// A limit that a caller is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// The name of the limit, such as `requests_per_s`.
    pub limit: &'static str,
    /// After this many seconds the call may be repeated.
    pub retry_after_s: u64,
}

/// One invalid part of the input.
#[derive(Clone, Debug, Serialize)]
pub struct InvalidPart {
    /// JSON pointer into the body (RFC 6901), if the part is in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// Name of the query parameter, if the part is a parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    detail: String,
}

impl Report {
    /// Leaves out all invalid parts but the first, if a response has named too many already; `named` counts them.
    pub(super) fn shorten(&mut self, named: &mut usize) {
        if *named + self.errors.len() > MAX_BATCH_ERRORS {
            self.errors.truncate(1);
        }
        *named += self.errors.len();
    }

    /// A report with this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            id: None,
            seq: None,
            outcome: None,
            needs: None,
            over: None,
            cause: None,
        }
    }
}

impl Error {
    /// An error with this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { report: Box::new(Report::new(code, detail)) }
    }

    /// What the caller can do about it, which a surface maps to a status of its protocol.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.report.code.kind()
    }

    /// The error for a call without a valid credential.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, detail)
    }

    /// The error for a waiting call whose principal has ended.
    #[must_use]
    pub fn ended(reason: EndReason) -> Self {
        Self::unauthenticated(match reason {
            EndReason::Revoked => "the key of this request was revoked",
            EndReason::Expired => "the key of this request has expired",
            EndReason::Changed => "the grants of this key have changed; repeat the request",
        })
    }

    /// The error for a caller that is over a limit.
    pub fn over_limit(limit: &'static str, retry_after_s: u64, detail: impl Into<String>) -> Self {
        let mut error = Self::new(Code::RateLimited, detail);
        error.report.over = Some(LimitReached { limit, retry_after_s: retry_after_s.max(1) });
        error
    }

    /// The error for an object that does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// The error when the server is at a limit, or stops.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(Code::Overloaded, detail)
    }

    /// The error for input that is larger than the server accepts.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(Code::PayloadTooLarge, detail)
    }

    /// The error for a defect of the server; `cause` is only for the log.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(Code::InternalError, "an error inside the server").because(cause)
    }

    /// The error for query parameters that are invalid or unknown.
    #[must_use]
    pub fn parameters(errors: Vec<ParameterError>) -> Self {
        let text = "the query has invalid or unknown parameters";
        let mut error = Self::new(Code::InvalidParameter, text);
        let part = |e: ParameterError| InvalidPart {
            pointer: None,
            parameter: Some(e.parameter),
            detail: e.detail,
        };
        error.report.errors = errors.into_iter().map(part).collect();
        error
    }

    /// The error for invalid members of a message.
    #[must_use]
    pub fn message(errors: Vec<FieldError>) -> Self {
        Self::members(errors, Code::InvalidMessage, "the message breaks the rules of the envelope")
    }

    /// The error for invalid members of a body that is not a message.
    #[must_use]
    pub fn body(errors: Vec<FieldError>) -> Self {
        Self::members(errors, Code::InvalidBody, "the body has invalid, missing or unknown members")
    }

    /// The error for a body, other than a message, that cannot be parsed.
    #[must_use]
    pub fn unreadable_body(error: BodyError) -> Self {
        match error {
            BodyError::Invalid(errors) => Self::body(errors),
            syntax @ BodyError::Syntax { .. } => syntax.into(),
        }
    }

    /// The error for a message that does not match the schema of its type.
    #[must_use]
    pub fn schema_violation(errors: Vec<FieldError>) -> Self {
        let text = "content and metadata do not match the schema of this type of message";
        Self::members(errors, Code::SchemaViolation, text)
    }

    fn members(errors: Vec<FieldError>, code: Code, detail: &str) -> Self {
        let mut error = Self::new(code, detail);
        let part = |e: FieldError| InvalidPart {
            pointer: Some(e.pointer),
            parameter: None,
            detail: e.detail,
        };
        error.report.errors = errors.into_iter().map(part).collect();
        error
    }

    /// Names the kind of object in the error, if the body is not a message.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        if self.report.code == Code::InvalidMessage && !self.report.errors.is_empty() {
            self.report.detail = format!("the {what} breaks these rules");
        }
        self
    }

    /// Adds the id and sequence of the message or job.
    #[must_use]
    pub fn at(mut self, id: Uuid, seq: u64) -> Self {
        (self.report.id, self.report.seq) = (Some(id), Some(seq));
        self
    }

    /// Adds the inner cause, only for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.report.cause = Some(cause.into());
        self
    }

    /// The error for a message or job that the bus did not accept.
    fn not_published(detail: String, id: Uuid, source: &PublishError) -> Self {
        let mut error = Self::new(Code::BusUnavailable, detail);
        error.report.id = Some(id);
        error.report.outcome = Some(match source {
            PublishError::NotSent(_) => "not_sent",
            PublishError::Unknown(_) => "unknown",
        });
        error
    }
}

impl From<Reached> for Error {
    fn from(Reached { limit, retry_after_s, is_too_much }: Reached) -> Self {
        let detail = match is_too_much {
            true => {
                format!("more at once than {limit} of this key ever allows: send less at a time")
            }
            false => format!("this key is over its limit {limit}"),
        };
        Self::over_limit(limit, retry_after_s, detail)
    }
}

impl From<Needs> for Error {
    fn from(Needs(needs): Needs) -> Self {
        let detail = format!("this key lacks a grant: {needs}");
        let mut error = Self::new(Code::Forbidden, detail);
        error.report.needs = Some(needs);
        error
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Syntax { line, column, detail } => {
                Self::new(Code::MalformedJson, format!("line {line}, column {column}: {detail}"))
            }
            BodyError::Invalid(errors) => Self::message(errors),
        }
    }
}

impl From<IngestError> for Error {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        match error {
            IngestError::TooLarge { .. } => Self::too_large(detail),
            IngestError::Conflict { id, seq } => {
                Self::new(Code::IdempotencyConflict, detail).at(id, seq)
            }
            IngestError::Bus { id, source } => Self::not_published(detail, id, &source),
            IngestError::StoreBehind { id } => {
                let mut error = Self::new(Code::StoreBehind, detail);
                (error.report.id, error.report.outcome) = (Some(id), Some("not_sent"));
                error
            }
        }
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        let detail = error.to_string();
        let code = match error {
            QueueError::TooLarge { .. } => return Self::too_large(detail),
            QueueError::Conflict { id, seq } => {
                return Self::new(Code::IdempotencyConflict, detail).at(id, seq);
            }
            QueueError::Bus { id, source } => return Self::not_published(detail, id, &source),
            QueueError::Store(error) => return error.into(),
            QueueError::Overloaded => return Self::overloaded(detail),
            QueueError::LeaseLost => Code::LeaseLost,
            QueueError::InvalidToken => Code::InvalidToken,
            QueueError::Undecodable => Code::UndecodableJob,
            QueueError::TooManyQueues => Code::TooManyQueues,
            QueueError::QueueNotEmpty => Code::QueueNotEmpty,
            QueueError::QueueLeased => Code::QueueLeased,
            QueueError::NoDelay(_) => Code::DelayUnsupported,
            QueueError::BusUnavailable(_) => Code::BusUnavailable,
        };
        Self::new(code, detail)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let text = "the store is not available now";
        Self::new(Code::StoreUnavailable, text).because(error.to_string())
    }
}

impl From<ControlError> for Error {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Unknown => Self::not_found(error.to_string()),
            ControlError::BeyondHead(_) => Self::body(vec![FieldError {
                pointer: "/from".to_owned(),
                detail: error.to_string(),
            }]),
            ControlError::Store(error) => error.into(),
            ControlError::Bus(error) => {
                let text = "the bus is not available now";
                Self::new(Code::BusUnavailable, text).because(error.to_string())
            }
        }
    }
}

impl From<WebhookError> for Error {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::TooMany => Self::new(Code::TooManyWebhooks, error.to_string()),
            WebhookError::NoSecret => Self::overloaded("no secret could be made now"),
            WebhookError::Store(error) => error.into(),
            WebhookError::Control(error) => error.into(),
        }
    }
}
