//! Errors in a JSON body.

/// One fault in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the member; empty for the whole body.
    pub pointer: String,
    /// The rule that the member breaks.
    pub detail: String,
}

/// Why a JSON body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The text is not JSON.
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
        /// What the parser expected.
        detail: String,
    },
    /// The JSON breaks these rules. At most [`MAX_NAMED_ERRORS`](crate::limits::MAX_NAMED_ERRORS) are
    /// reported.
    Invalid(Vec<FieldError>),
}
