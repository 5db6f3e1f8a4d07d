//! Parses query strings into typed parameters, and reports all invalid ones at once.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::limits::{
    DEFAULT_PAGE, MAX_NAMED_ERRORS, MAX_PAGE, MAX_PAGE_BYTES, MAX_REPLY_WAIT, MAX_SEARCH_CHARS,
};
use crate::message::{
    Filter, ParameterError, Query, Token, parse_rfc3339, parse_uuid, shorten_name,
};
use crate::services::Error;
use crate::services::dead_letters::{DeadLetterKind, DeadLetterQuery};
use crate::services::messages::AckLevel;
use crate::services::streams::Start;
use crate::services::tasks::TaskState;

use super::problem::Problem;

/// The largest sequence that every client can represent exactly (contract, section 1).
const MAX_SEQ: u64 = 1 << 53;

/// The error for a value that is not a sequence.
pub const SEQUENCE_RULE: &str = "must be a sequence: a whole number from 0 to 2^53";

/// The result of parsing one parameter. The error is the rule that the value breaks.
type Taken = Result<(), String>;

/// Passes each parameter to `take`, which returns `None` for an unknown one. Reports at most
/// [`MAX_NAMED_ERRORS`] errors, so that a short query cannot cause a long response.
fn each(
    query: Option<&str>,
    mut take: impl FnMut(&str, &str) -> Option<Taken>,
) -> Result<(), Error> {
    let mut errors = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let detail = match take(&name, &value) {
            Some(Ok(())) => continue,
            Some(Err(detail)) => detail,
            None => "is not a parameter of this route".to_owned(),
        };
        errors.push(ParameterError { parameter: shorten_name(&name).into_owned(), detail });
        if errors.len() == MAX_NAMED_ERRORS {
            break;
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::parameters(errors)) }
}

fn parse_filter(filter: &mut Filter, name: &str, value: &str) -> Option<Taken> {
    filter.parse_parameter(name, value).map(|taken| taken.map_err(str::to_owned))
}

fn sequence(value: &str) -> Result<u64, String> {
    value
        .parse()
        .ok()
        .filter(|seq| *seq <= MAX_SEQ && value.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| SEQUENCE_RULE.to_owned())
}

/// Sets the value of a parameter that must not be repeated.
fn once<T>(slot: &mut Option<T>, value: Result<T, String>) -> Taken {
    if slot.is_some() {
        return Err("must not be repeated".to_owned());
    }
    *slot = Some(value?);
    Ok(())
}

/// The parameters of `POST /v1/messages/batch`.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn post_batch(query: Option<&str>) -> Result<AckLevel, Error> {
    let mut level = None;
    each(query, |name, value| (name == "ack").then(|| once(&mut level, ack_level(value))))?;
    Ok(level.unwrap_or_default())
}

/// The parameters of `POST /v1/messages`: the ack level, and how long to wait for a reply.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn post(query: Option<&str>) -> Result<(AckLevel, Option<Duration>), Error> {
    let (mut level, mut within) = (None, None);
    each(query, |name, value| match name {
        "ack" => Some(once(&mut level, ack_level(value))),
        "reply_within" => Some(once(&mut within, seconds(value, 1))),
        _ => None,
    })?;
    Ok((level.unwrap_or_default(), within))
}

/// The parameters of the deletion of a queue: whether to delete its jobs too.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn force(query: Option<&str>) -> Result<bool, Error> {
    let mut force = None;
    each(query, |name, value| (name == "force").then(|| once(&mut force, boolean(value))))?;
    Ok(force.unwrap_or_default())
}

/// The parameters of a schema that is put: whether it is only tried.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn check(query: Option<&str>) -> Result<bool, Error> {
    let mut check = None;
    each(query, |name, value| (name == "check").then(|| once(&mut check, boolean(value))))?;
    Ok(check.unwrap_or_default())
}

fn ack_level(value: &str) -> Result<AckLevel, String> {
    match value {
        "stored" => Ok(AckLevel::Stored),
        "committed" => Ok(AckLevel::Committed),
        _ => Err("must be stored or committed".to_owned()),
    }
}

/// Parses a time to wait, in whole seconds from `least` on.
fn seconds(value: &str, least: u64) -> Result<Duration, String> {
    let most = MAX_REPLY_WAIT.as_secs();
    value
        .parse()
        .ok()
        .filter(|s| (least..=most).contains(s) && value.bytes().all(|b| b.is_ascii_digit()))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("must be a whole number of seconds from {least} to {most}"))
}

/// The parameters of a list in order of names: the name to begin after, and the most items.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn names(query: Option<&str>) -> Result<(Option<Token>, usize), Error> {
    by_name(query, |_, _| None)
}

/// The parameters of a list of tasks: their state, the name to begin after, and the most items.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn tasks(query: Option<&str>) -> Result<(Option<TaskState>, Option<Token>, usize), Error> {
    let mut state = None;
    let (after, limit) = by_name(query, |name, value| {
        let wanted = [TaskState::Open, TaskState::Done].into_iter().find(|s| s.as_str() == value);
        let wanted = wanted.ok_or_else(|| "must be open or done".to_owned());
        (name == "state").then(|| once(&mut state, wanted))
    })?;
    Ok((state, after, limit))
}

fn by_name(
    query: Option<&str>,
    mut other: impl FnMut(&str, &str) -> Option<Taken>,
) -> Result<(Option<Token>, usize), Error> {
    let (mut after, mut limit) = (None, None);
    each(query, |name, value| match name {
        "after" => Some(once(&mut after, value.parse().map_err(str::to_owned))),
        "limit" => Some(once(&mut limit, page_limit(value))),
        _ => other(name, value),
    })?;
    Ok((after, limit.unwrap_or(DEFAULT_PAGE)))
}

/// The parameters of an inbox.
#[derive(Clone, Copy, Debug)]
pub struct InboxParams {
    /// The sequence to begin after; `None` for the position of the inbox.
    pub after: Option<u64>,
    /// The most messages of a page.
    pub limit: usize,
    /// How long to wait for the first message.
    pub wait: Duration,
    /// Whether to include messages without a recipient.
    pub broadcast: bool,
}

/// The parameters of an inbox.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn inbox(query: Option<&str>) -> Result<InboxParams, Error> {
    let (mut after, mut limit, mut wait, mut broadcast) = (None, None, None, None);
    each(query, |name, value| match name {
        "after" => Some(once(&mut after, sequence(value))),
        "limit" => Some(once(&mut limit, page_limit(value))),
        "wait" => Some(once(&mut wait, seconds(value, 0))),
        "broadcast" => Some(once(&mut broadcast, boolean(value))),
        _ => None,
    })?;
    Ok(InboxParams {
        after,
        limit: limit.unwrap_or(DEFAULT_PAGE),
        wait: wait.unwrap_or_default(),
        broadcast: broadcast.unwrap_or_default(),
    })
}

/// The parameters of a page of history: the query, and the text that the content must contain.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn history(query: Option<&str>) -> Result<(Query, Option<String>), Error> {
    let mut filter = Filter::default();
    let (mut after, mut before, mut since, mut until) = (None, None, None, None);
    let (mut between, mut contains, mut limit, mut descending) = (None, None, None, None);
    let time = |value: &str| parse_rfc3339(value).map_err(str::to_owned);
    each(query, |name, value| {
        Some(match name {
            "after" => once(&mut after, sequence(value)),
            "before" => once(&mut before, sequence(value)),
            "since" => once(&mut since, time(value)),
            "until" => once(&mut until, time(value)),
            "between" => once(&mut between, pair(value)),
            "contains" => once(&mut contains, searched(value)),
            "limit" => once(&mut limit, page_limit(value)),
            "order" => once(
                &mut descending,
                match value {
                    "asc" => Ok(false),
                    "desc" => Ok(true),
                    _ => Err("must be asc or desc".to_owned()),
                },
            ),
            _ => return parse_filter(&mut filter, name, value),
        })
    })?;
    let query = Query {
        filter: filter.normalised(),
        after,
        before,
        since,
        until,
        between,
        limit: limit.unwrap_or(DEFAULT_PAGE),
        limit_bytes: MAX_PAGE_BYTES,
        descending: descending.unwrap_or(false),
    };
    Ok((query, contains))
}

/// A text to search for.
fn searched(value: &str) -> Result<String, String> {
    if value.is_empty() || value.chars().count() > MAX_SEARCH_CHARS {
        return Err(format!("must be a text of 1 to {MAX_SEARCH_CHARS} characters"));
    }
    Ok(value.to_owned())
}

fn page_limit(value: &str) -> Result<usize, String> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=MAX_PAGE).contains(limit))
        .ok_or_else(|| format!("must be a whole number from 1 to {MAX_PAGE}"))
}

/// `true` or `false`.
fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| "must be true or false".to_owned())
}

fn pair(value: &str) -> Result<(Token, Token), String> {
    let agents = value.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    agents.ok_or_else(|| "must be two agents, as in between=a,b".to_owned())
}

/// The parameters of a stream. `last_event_id` is the header's value.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn stream(query: Option<&str>, last_event_id: Option<&str>) -> Result<(Filter, Start), Error> {
    let mut filter = Filter::default();
    let start = start(query, last_event_id, |name, value| parse_filter(&mut filter, name, value))?;
    Ok((filter, start))
}

/// The parameters of a stream with a ticket, which has the filter.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn stream_of_ticket(query: Option<&str>, last_event_id: Option<&str>) -> Result<Start, Error> {
    start(query, last_event_id, |name, _| (name == "ticket").then_some(Ok(())))
}

fn start(
    query: Option<&str>,
    last_event_id: Option<&str>,
    mut other: impl FnMut(&str, &str) -> Option<Taken>,
) -> Result<Start, Error> {
    let (mut from, mut resumed) = (None, None);
    each(query, |name, value| {
        Some(match name {
            "from" => once(
                &mut from,
                match value {
                    "now" => Ok(Start::Now),
                    "start" => Ok(Start::First),
                    _ => sequence(value)
                        .map(Start::From)
                        .map_err(|_| "must be start, now or a sequence".to_owned()),
                },
            ),
            "last_event_id" | "lastEventId" => once(&mut resumed, sequence(value)),
            _ => return other(name, value),
        })
    })?;
    if let Some(header) = last_event_id.filter(|value| !value.is_empty()) {
        let seen = sequence(header).map_err(|detail| {
            let parameter = "Last-Event-ID".to_owned();
            Error::parameters(vec![ParameterError { parameter, detail }])
        })?;
        resumed = Some(seen);
    }
    Ok(resumed.map(Start::After).or(from).unwrap_or(Start::Now))
}

/// The parameters of a page of the audit log: the entry to begin after, and the most entries.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn audit(query: Option<&str>) -> Result<(u64, usize), Error> {
    let (mut after, mut limit) = (None, None);
    each(query, |name, value| match name {
        "after" => Some(once(&mut after, sequence(value))),
        "limit" => Some(once(&mut limit, page_limit(value))),
        _ => None,
    })?;
    Ok((after.unwrap_or(0), limit.unwrap_or(DEFAULT_PAGE)))
}

/// The parameters of the counters: the task to count.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn stats(query: Option<&str>) -> Result<Option<Token>, Error> {
    let mut task = None;
    each(query, |name, value| match name {
        "task" => Some(once(&mut task, value.parse().map_err(str::to_owned))),
        _ => None,
    })?;
    Ok(task)
}

/// The parameter of the readiness check: whether to list each part.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn verbose(query: Option<&str>) -> Result<bool, Error> {
    let mut verbose = false;
    each(query, |name, value| match (name, value) {
        ("verbose", "" | "true" | "1") => {
            verbose = true;
            Some(Ok(()))
        }
        ("verbose", "false" | "0") => Some(Ok(())),
        ("verbose", _) => Some(Err("must be true or false".to_owned())),
        _ => None,
    })?;
    Ok(verbose)
}

/// The parameters of a page of dead letters.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn dead_letters(query: Option<&str>) -> Result<DeadLetterQuery, Error> {
    let (mut after, mut limit) = (None, None);
    let which = letters(query, |name, value| {
        Some(match name {
            "after" => once(&mut after, parse_uuid(value).map_err(str::to_owned)),
            "limit" => once(&mut limit, page_limit(value)),
            _ => return None,
        })
    })?;
    Ok(DeadLetterQuery { after, limit: limit.unwrap_or(DEFAULT_PAGE), ..which })
}

/// The parameters that select the dead letters to redrive.
///
/// # Errors
/// 422 naming each that is unknown or wrong.
pub fn redrive(query: Option<&str>) -> Result<DeadLetterQuery, Error> {
    letters(query, |_, _| None)
}

fn letters(
    query: Option<&str>,
    mut other: impl FnMut(&str, &str) -> Option<Taken>,
) -> Result<DeadLetterQuery, Error> {
    let (mut kind, mut source) = (None, None);
    each(query, |name, value| match name {
        "source" => Some(once(&mut source, source_name(value))),
        "kind" => Some(once(
            &mut kind,
            match value {
                "message" => Ok(DeadLetterKind::Message),
                "job" => Ok(DeadLetterKind::Job),
                _ => Err("must be message or job".to_owned()),
            },
        )),
        _ => other(name, value),
    })?;
    Ok(DeadLetterQuery { kind, source, ..DeadLetterQuery::default() })
}

/// Parses the name of a consumer or queue, which may have been deleted.
fn source_name(value: &str) -> Result<String, String> {
    let name = value.parse::<Token>().map(|name| name.to_string());
    name.map_err(|_| "must be the name of a consumer or a queue".to_owned())
}

/// Refuses every parameter, for routes without parameters.
///
/// # Errors
/// 422 naming each parameter.
pub fn none(query: Option<&str>) -> Result<(), Error> {
    each(query, |_, _| None)
}

/// The extractor of routes without parameters: refuses every parameter.
pub struct NoParams;

impl<S: Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        none(parts.uri.query())?;
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_wins_over_every_parameter() {
        let start = |query, header| stream(Some(query), header).map(|(_, start)| start).ok();
        assert_eq!(start("from=5&last_event_id=7", Some("9")), Some(Start::After(9)));
        assert_eq!(start("from=5&lastEventId=7", None), Some(Start::After(7)));
        assert_eq!(start("from=start", Some("")), Some(Start::First));
        assert_eq!(start("", None), Some(Start::Now));
        assert_eq!(start("from=-1", None), None);
        assert_eq!(start("from=+1", None), None);
        assert_eq!(start("from=9007199254740993", None), None);
        assert_eq!(start("", Some("abc")), None);
    }

    #[test]
    fn faults_are_named_together() {
        let problem = history(Some(
            "limit=0&colour=red&since=soon&between=a&contains=&kind=x&after=1&after=2",
        ));
        let report = problem.expect_err("seven faults").report;
        let text = serde_json::to_string(&report).expect("JSON");
        for name in ["limit", "colour", "since", "between", "contains", "kind", "after"] {
            assert!(text.contains(&format!("\"parameter\":\"{name}\"")), "{text}");
        }
    }

    #[test]
    fn a_long_query_makes_no_long_answer() {
        let many = "a&".repeat(30_000);
        let long = format!("{}=1", "n".repeat(60_000));
        for query in [many, long] {
            let error = none(Some(&query)).expect_err("no parameter of the route");
            let text = serde_json::to_string(&error.report).expect("JSON");
            assert!(text.len() < 8_192, "{} bytes of {}", text.len(), query.len());
        }
    }

    proptest! {
        #[test]
        fn no_query_string_panics(query in ".{0,60}") {
            let _ = (history(Some(&query)), stream(Some(&query), Some(&query)), post(Some(&query)));
        }
    }
}
