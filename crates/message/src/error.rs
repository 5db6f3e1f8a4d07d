//! Why a JSON body is refused.

/// One fault of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the member; empty for the whole body.
    pub pointer: String,
    /// What the member must be.
    pub detail: String,
}

/// Why a body is refused: a message, or another object that [`ObjectReader`](crate::ObjectReader) reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is not JSON.
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
        /// What the parser expected.
        detail: String,
    },
    /// It is JSON that breaks these rules; at most [`MAX_NAMED_ERRORS`](crate::limits::MAX_NAMED_ERRORS) of them.
    Invalid(Vec<FieldError>),
}
