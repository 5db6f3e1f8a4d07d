//! The parsers of query strings, for the targets in `fuzz/`. Not part of the server.
//!
//! Invariant: each function returns the parameters that the handler of its route gets, or the text of the
//! error.

use std::time::Duration;

use super::params;
use super::problem::Problem;
use super::request_id::RequestId;
use crate::message::{Filter, Query};
use crate::services::Error;
use crate::services::messages::AckLevel;
use crate::services::streams::Start;

fn as_text<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| {
        let document = Problem::from(error).document(&RequestId::new());
        String::from_utf8(document).unwrap_or_default()
    })
}

/// Parameters of `GET /v1/messages`.
///
/// # Errors
/// The text of the error.
pub fn history(query: Option<&str>) -> Result<(Query, Option<String>), String> {
    as_text(params::history(query))
}

/// Parameters of `GET /v1/stream`; `header` is the value of `Last-Event-ID`.
///
/// # Errors
/// The text of the error.
pub fn stream(query: Option<&str>, header: Option<&str>) -> Result<(Filter, Start), String> {
    as_text(params::stream(query, header))
}

/// Parameters of `POST /v1/messages`.
///
/// # Errors
/// The text of the error.
pub fn post(query: Option<&str>) -> Result<(AckLevel, Option<Duration>), String> {
    as_text(params::post(query))
}

/// Parameters of `GET /v1/agents/{id}/inbox`: `after`, `limit` and `wait`.
///
/// # Errors
/// The text of the error.
pub fn inbox(query: Option<&str>) -> Result<(Option<u64>, usize, Duration), String> {
    as_text(params::inbox(query)).map(|params| (params.after, params.limit, params.wait))
}

/// The `limit` of `GET /v1/dead-letters`.
///
/// # Errors
/// The text of the error.
pub fn dead_letters(query: Option<&str>) -> Result<usize, String> {
    as_text(params::dead_letters(query)).map(|query| query.limit)
}

/// The `limit` of lists in order of names.
///
/// # Errors
/// The text of the error.
pub fn names(query: Option<&str>) -> Result<usize, String> {
    as_text(params::names(query)).map(|(_, limit)| limit)
}

/// The `limit` of `GET /v1/tasks`.
///
/// # Errors
/// The text of the error.
pub fn tasks(query: Option<&str>) -> Result<usize, String> {
    as_text(params::tasks(query)).map(|(_, _, limit)| limit)
}

/// Calls the parsers of the other routes, whose parameters have no numbers.
///
/// # Errors
/// The text of the first error.
pub fn others(query: Option<&str>) -> Result<(), String> {
    as_text(params::post_batch(query).map(drop))
        .and(as_text(params::stats(query).map(drop)))
        .and(as_text(params::verbose(query).map(drop)))
        .and(as_text(params::redrive(query).map(drop)))
        .and(as_text(params::none(query)))
}
