//! Errors (RFC 9457).

use utoipa::ToSchema;
use uuid::Uuid;

use super::base::Sequence;

/// A fault of the input.
#[derive(ToSchema)]
pub struct InvalidPart {
    /// JSON pointer into the body (RFC 6901). Empty for the whole body.
    #[schema(required = false)]
    pointer: String,
    /// The query parameter or header.
    #[schema(required = false)]
    parameter: String,
    /// The rule that it breaks.
    detail: String,
}

/// Why a message or job of a batch was refused.
#[derive(ToSchema)]
pub struct Failure {
    /// The stable code of the error. Programs decide by it.
    code: String,
    /// A text for people. It may change.
    detail: String,
    #[schema(required = false)]
    errors: Vec<InvalidPart>,
    /// The id of the message or job.
    #[schema(required = false)]
    id: Uuid,
    #[schema(required = false)]
    seq: Sequence,
    #[schema(required = false)]
    outcome: Outcome,
    /// The grant that the key lacks.
    #[schema(required = false)]
    needs: String,
}

/// An item that the server refused.
#[derive(ToSchema)]
pub struct RejectedItem {
    /// The HTTP status that the item would have had alone.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    error: Failure,
}

/// Whether a message that was not acknowledged may still be in the log.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Outcome {
    NotSent,
    Unknown,
}

/// A problem document (RFC 9457).
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "invalid_parameter",
    "detail": "the query has invalid or unknown parameters",
    "errors": [{"parameter": "limit", "detail": "must be a whole number from 1 to 1000"}],
    "request_id": "1f0c3a52-6f4e-4c8e-9d5b-3a7f2b1c0d9e"
}))]
pub struct Problem {
    /// Always `about:blank`: `code` says which problem it is.
    r#type: String,
    /// The name of the status.
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable code of the error. Programs decide by it.
    code: String,
    /// A text for people. It may change.
    detail: String,
    /// Every fault of the input, at most 64.
    #[schema(required = false)]
    errors: Vec<InvalidPart>,
    /// The id of the message or job.
    #[schema(required = false)]
    id: Uuid,
    #[schema(required = false)]
    seq: Sequence,
    #[schema(required = false)]
    outcome: Outcome,
    /// The grant that the key lacks.
    #[schema(required = false)]
    needs: String,
    /// Names the request in the server's log.
    request_id: String,
}
