//! Batches: many items in one body, and one result for each, in input order.

use axum::http::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::{media_type, unsupported};
use super::problem::{self, Problem};
use super::request_id::RequestId;
use crate::limits::{MAX_BATCH_ERRORS, MAX_BATCH_MESSAGES};
use crate::message::{BodyError, FieldError};
use crate::services::{Code, Error, ErrorKind, Report};
use crate::yielding::yield_between_items;

/// The format of a batch, which tells where an item ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchFormat {
    /// One item per line (NDJSON).
    Lines,
    /// All items in one JSON array.
    Array,
}

impl BatchFormat {
    /// The format for the `Content-Type` of a request.
    ///
    /// # Errors
    /// 415 for any other media type.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match media_type(headers).as_deref() {
            Some("application/x-ndjson" | "application/ndjson") => Ok(Self::Lines),
            Some("application/json") => Ok(Self::Array),
            _ => Err(unsupported("application/x-ndjson, or application/json for an array")),
        }
    }
}

/// The valid items of a batch, and the errors of the others.
pub(super) struct Batch<T> {
    /// The valid items, in input order.
    pub(super) items: Vec<T>,
    /// The result of parsing, for each input item in order: `None` for a valid one.
    errors: Vec<Option<Error>>,
}

/// The results of a batch, as its response shows them.
#[derive(Serialize)]
pub(super) struct Results<T> {
    accepted: usize,
    rejected: usize,
    results: Vec<ItemResult<T>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemResult<T> {
    Accepted(T),
    Rejected { status: u16, error: Box<Report> },
}

impl<T> Batch<T> {
    /// Parses each item of a body, and lets other tasks run in between. `what` names the items in errors.
    ///
    /// # Errors
    /// 413 for too many items; 400 or 422 if the body should be an array and is not.
    pub(super) async fn parse(
        format: BatchFormat,
        body: &Bytes,
        what: &str,
        parse: impl Fn(&[u8]) -> Result<T, BodyError> + Send,
    ) -> Result<Self, Error> {
        let texts = match format {
            BatchFormat::Lines => lines(body),
            BatchFormat::Array => elements(body, what)?,
        };
        if texts.len() > MAX_BATCH_MESSAGES {
            let text = format!("a batch has at most {MAX_BATCH_MESSAGES} {what}");
            return Err(Error::too_large(text));
        }
        let (mut items, mut errors) = (Vec::with_capacity(texts.len()), Vec::new());
        let mut reported = 0;
        for (at, (lines_before, text)) in texts.into_iter().enumerate() {
            yield_between_items(at).await;
            errors.push(match parse(text) {
                Ok(item) => {
                    items.push(item);
                    None
                }
                Err(BodyError::Syntax { line, column, detail }) => {
                    let line = lines_before + line;
                    Some(BodyError::Syntax { line, column, detail }.into())
                }
                Err(BodyError::Invalid(parts)) => Some(shortened(parts, &mut reported).into()),
            });
        }
        Ok(Self { items, errors })
    }

    /// Names the kind of item in the errors, if the items are not messages.
    pub(super) fn about(mut self, what: &str) -> Self {
        for error in &mut self.errors {
            *error = error.take().map(|error| error.about(what));
        }
        self
    }

    /// The results of all items, made from the results of the valid items in their order. Logs the first cause of a
    /// failure.
    ///
    /// # Errors
    /// The first item's error, if all items failed as [`ErrorKind::Unavailable`].
    pub(super) fn results<R, V>(
        self,
        id: &RequestId,
        results: Vec<Result<R, Error>>,
        view: impl Fn(R) -> V,
    ) -> Result<Results<V>, Problem> {
        let mut results = results.into_iter();
        let mut all = Vec::with_capacity(self.errors.len());
        for error in self.errors {
            match error {
                Some(error) => all.push(Err(error)),
                None => all.extend(results.next()),
            }
        }
        let is_unavailable = |result: &Result<R, Error>| {
            result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
        };
        if all.iter().all(is_unavailable)
            && let Some(Err(error)) = all.first()
        {
            return Err(error.clone().into());
        }
        // One line a request, however many items failed.
        if let Some(report) = all
            .iter()
            .filter_map(|result| Some(&result.as_ref().err()?.report))
            .find(|report| report.cause.is_some())
        {
            problem::log_cause(report, id);
        }
        let accepted = all.iter().filter(|result| result.is_ok()).count();
        let rejected = all.len() - accepted;
        let result = |result| match result {
            Ok(item) => ItemResult::Accepted(view(item)),
            Err(Error { report }) => {
                let status = problem::status(report.code).as_u16();
                ItemResult::Rejected { status, error: report }
            }
        };
        let results = all.into_iter().map(result).collect();
        Ok(Results { accepted, rejected, results })
    }
}

/// The lines that are not blank, each with the number of lines before it. Stops one item beyond
/// [`MAX_BATCH_MESSAGES`].
fn lines(body: &Bytes) -> Vec<(usize, &[u8])> {
    let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    body.split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !is_blank(line))
        .take(MAX_BATCH_MESSAGES + 1)
        .collect()
}

/// The elements of a JSON array. Line numbers in the errors of an element count from its beginning.
fn elements<'a>(body: &'a Bytes, what: &str) -> Result<Vec<(usize, &'a [u8])>, Error> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            let text = format!("a batch in JSON must be an array of {what}");
            Error::new(Code::InvalidMessage, text)
        } else {
            let (line, column) = (error.line(), error.column());
            BodyError::Syntax { line, column, detail: error.to_string() }.into()
        }
    })?;
    Ok(elements.into_iter().map(|element| (0, element.get().as_bytes())).collect())
}

/// The invalid parts of an item. If the batch has reported too many already, only the first.
fn shortened(mut parts: Vec<FieldError>, reported: &mut usize) -> BodyError {
    if *reported + parts.len() > MAX_BATCH_ERRORS {
        parts.truncate(1);
        parts.shrink_to_fit();
    }
    *reported += parts.len();
    BodyError::Invalid(parts)
}
