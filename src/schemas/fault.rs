//! What is wrong with a message or a schema.

use std::borrow::Cow;

use jsonschema::ValidationError;

use crate::limits::{MAX_VIOLATION_TEXT, MAX_VIOLATIONS};
use crate::message::FieldError;

/// Why a message does not match its schema: at least one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The faults, with pointers into `{content, metadata}`; not all of them if there are many.
    pub errors: Vec<FieldError>,
}

impl Violation {
    /// A violation with one fault.
    pub(super) fn one(pointer: &str, detail: impl Into<String>) -> Self {
        Self { errors: vec![fault(pointer.to_owned(), detail)] }
    }

    /// The first faults of these.
    pub(super) fn of<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Self {
        let describe = |error: ValidationError<'_>| {
            fault(error.instance_path().to_string(), describe(&error, "this value"))
        };
        Self { errors: errors.take(MAX_VIOLATIONS).map(describe).collect() }
    }
}

/// A fault at a JSON pointer.
pub(super) fn fault(pointer: String, detail: impl Into<String>) -> FieldError {
    FieldError { pointer, detail: detail.into() }
}

/// The text of an error without the value that caused it, which may be large or secret.
pub(super) fn describe(error: &ValidationError<'_>, value: &'static str) -> String {
    let text = error.masked_with(Cow::Borrowed(value)).to_string();
    match text.char_indices().nth(MAX_VIOLATION_TEXT) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
