//! Many things in one body: one a line (NDJSON), or one JSON array.

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::body::{media_type, unsupported};
use super::problem::Problem;
use crate::limits::{MAX_BATCH_ERRORS, MAX_BATCH_MESSAGES};
use crate::message::{DraftError, FieldError};
use crate::yielding::yield_between_items;

/// How the items stand in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One a line.
    Lines,
    /// In one array.
    Array,
}

/// What each item became.
pub(super) type Parsed<T> = Vec<Result<T, DraftError>>;

/// How the items stand, by the media type.
///
/// # Errors
/// 415.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    match media_type(headers).as_deref() {
        Some("application/x-ndjson" | "application/ndjson") => Ok(Form::Lines),
        Some("application/json") => Ok(Form::Array),
        _ => Err(unsupported("application/x-ndjson, or application/json for an array")),
    }
}

/// The items of a body, each parsed. A large body lets other tasks run in between.
///
/// # Errors
/// 413 when they are too many, 400 or 422 when the array is none.
pub(super) async fn parse<T>(
    form: Form,
    body: &Bytes,
    what: &str,
    item: impl Fn(&[u8]) -> Result<T, DraftError> + Send,
) -> Result<Parsed<T>, Problem> {
    let texts = match form {
        Form::Lines => lines(body),
        Form::Array => elements(body, what)?,
    };
    if texts.len() > MAX_BATCH_MESSAGES {
        return Err(Problem::too_large(format!("a batch has at most {MAX_BATCH_MESSAGES} {what}")));
    }
    let (mut parsed, mut named) = (Vec::with_capacity(texts.len()), 0);
    for (before, text) in texts {
        yield_between_items(parsed.len()).await;
        parsed.push(item(text).map_err(|error| match error {
            DraftError::Syntax { line, column, detail } => {
                DraftError::Syntax { line: before + line, column, detail }
            }
            DraftError::Invalid(errors) => shortened(errors, &mut named),
        }));
    }
    Ok(parsed)
}

/// One item a line, and how many lines are before it; blank lines are skipped but counted. At most one more than may be.
fn lines(body: &Bytes) -> Vec<(usize, &[u8])> {
    let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    body.split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !blank(line))
        .take(MAX_BATCH_MESSAGES + 1)
        .collect()
}

/// The elements of one JSON array. Their lines count from their own beginning.
fn elements<'a>(body: &'a Bytes, what: &str) -> Result<Vec<(usize, &'a [u8])>, Problem> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_message",
                format!("a batch in JSON must be an array of {what}"),
            )
        } else {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("line {}, column {}: {error}", error.line(), error.column()),
            )
        }
    })?;
    Ok(elements.into_iter().map(|element| (0, element.get().as_bytes())).collect())
}

/// The faults of an item; its first alone once the whole batch has too many.
fn shortened(mut errors: Vec<FieldError>, named: &mut usize) -> DraftError {
    if *named + errors.len() > MAX_BATCH_ERRORS {
        errors.truncate(1);
        errors.shrink_to_fit();
    }
    *named += errors.len();
    DraftError::Invalid(errors)
}

/// Puts results of good items and faults of bad ones back into input order.
pub(super) fn in_order<T>(
    mut results: impl Iterator<Item = Result<T, Problem>>,
    faults: Vec<Option<Problem>>,
) -> Vec<Result<T, Problem>> {
    let mut all = Vec::with_capacity(faults.len());
    for fault in faults {
        match fault {
            Some(problem) => all.push(Err(problem)),
            None => all.extend(results.next()),
        }
    }
    all
}

/// The good items, and the place of each bad one.
pub(super) fn split<T>(items: Parsed<T>) -> (Vec<T>, Vec<Option<Problem>>) {
    let (mut good, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match item {
            Ok(item) => {
                good.push(item);
                faults.push(None);
            }
            Err(error) => faults.push(Some(Problem::from(error))),
        }
    }
    (good, faults)
}

/// The one answer to a batch of which nothing could be done now, if that is so.
pub(super) fn all_unavailable<T>(all: &[Result<T, Problem>]) -> Option<Problem> {
    let unavailable = |result: &Result<T, Problem>| {
        result.as_ref().err().filter(|p| p.status() == StatusCode::SERVICE_UNAVAILABLE).cloned()
    };
    let problems: Option<Vec<Problem>> = all.iter().map(unavailable).collect();
    problems?.into_iter().next()
}
