//! A way in to the parsers of query strings, for the targets in `fuzz/`. No part of the server.
//!
//! Invariant: each gives what its route would work with, or the text of the problem that it answers.

use std::time::Duration;

use super::params;
use super::problem::Problem;
use crate::broadcast::Start;
use crate::ingest::AckLevel;
use crate::message::{Filter, Query};

fn told<T>(answer: Result<T, Problem>) -> Result<T, String> {
    answer.map_err(|problem| serde_json::to_string(&problem).unwrap_or_default())
}

/// `GET /v1/messages`.
///
/// # Errors
/// The problem's text.
pub fn history(query: Option<&str>) -> Result<Query, String> {
    told(params::history(query))
}

/// `GET /v1/stream`, with the value of `Last-Event-ID`.
///
/// # Errors
/// The problem's text.
pub fn stream(query: Option<&str>, header: Option<&str>) -> Result<(Filter, Start), String> {
    told(params::stream(query, header))
}

/// `POST /v1/messages`.
///
/// # Errors
/// The problem's text.
pub fn post(query: Option<&str>) -> Result<(AckLevel, Option<Duration>), String> {
    told(params::post(query))
}

/// `GET /v1/agents/{id}/inbox`: after which sequence, how many, how long.
///
/// # Errors
/// The problem's text.
pub fn inbox(query: Option<&str>) -> Result<(Option<u64>, usize, Duration), String> {
    told(params::inbox(query)).map(|asked| (asked.after, asked.limit, asked.wait))
}

/// `GET /v1/dead-letters`: how many.
///
/// # Errors
/// The problem's text.
pub fn dead_letters(query: Option<&str>) -> Result<usize, String> {
    told(params::dead_letters(query)).map(|asked| asked.limit)
}

/// A list in order of names: how many.
///
/// # Errors
/// The problem's text.
pub fn names(query: Option<&str>) -> Result<usize, String> {
    told(params::tokens(query)).map(|(_, limit)| limit)
}

/// `GET /v1/tasks`: how many.
///
/// # Errors
/// The problem's text.
pub fn tasks(query: Option<&str>) -> Result<usize, String> {
    told(params::tasks(query)).map(|(_, _, limit)| limit)
}

/// The routes whose parameters have no numbers, one after the other.
///
/// # Errors
/// The text of the first problem.
pub fn others(query: Option<&str>) -> Result<(), String> {
    told(params::post_batch(query).map(drop))
        .and(told(params::stats(query).map(drop)))
        .and(told(params::verbose(query).map(drop)))
        .and(told(params::redrive(query).map(drop)))
        .and(told(params::none(query)))
}
