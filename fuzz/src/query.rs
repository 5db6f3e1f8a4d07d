//! Query strings: each route accepts one or reports its faults.
//!
//! Input: the query string, given to every route.

use agentbus::http::fuzzing as routes;
use agentbus::limits::{MAX_PAGE, MAX_REPLY_WAIT, MAX_SEARCH_CHARS};

/// The largest sequence of the contract.
const MAX_SEQ: u64 = 1 << 53;

/// Runs it once.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let query = Some(&*text);
    if let Some((asked, contains)) = refusal(routes::history(query)) {
        assert!((1..=MAX_PAGE).contains(&asked.limit));
        assert!([asked.after, asked.before].into_iter().flatten().all(|seq| seq <= MAX_SEQ));
        assert_eq!(asked.filter.clone().normalised(), asked.filter);
        assert!(contains.is_none_or(|text| (1..=MAX_SEARCH_CHARS).contains(&text.chars().count())));
    }
    if let Some((_, within)) = refusal(routes::post(query)) {
        assert!(within.is_none_or(|wait| !wait.is_zero() && wait <= MAX_REPLY_WAIT));
    }
    if let Some((after, limit, wait)) = refusal(routes::inbox(query)) {
        assert!(after.is_none_or(|seq| seq <= MAX_SEQ) && wait <= MAX_REPLY_WAIT);
        assert!((1..=MAX_PAGE).contains(&limit));
    }
    if let Some(limit) = refusal(routes::dead_letters(query)) {
        assert!((1..=MAX_PAGE).contains(&limit));
    }
    for limit in
        [refusal(routes::names(query)), refusal(routes::tasks(query))].into_iter().flatten()
    {
        assert!((1..=MAX_PAGE).contains(&limit));
    }
    refusal(routes::others(query));
    refusal(routes::stream(query, None));
}

/// The parsed value; a refusal must be a problem that names each fault.
pub(super) fn refusal<T>(answer: Result<T, String>) -> Option<T> {
    let problem = match answer {
        Ok(taken) => return Some(taken),
        Err(problem) => problem,
    };
    let problem: serde_json::Value = serde_json::from_str(&problem).expect("a problem is JSON");
    assert_eq!(problem["status"], 422, "{problem}");
    let errors = problem["errors"].as_array().expect("each fault is named");
    assert!(!errors.is_empty());
    for error in errors {
        assert!(error["parameter"].is_string(), "{problem}");
        assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    None
}
