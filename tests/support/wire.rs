//! Checks of the wire format that several tests share: problem documents, pages of history with their bytes,
//! and JSON without the white space between its tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, Deployment, Http, eventually};

/// The content type of one message, or an array of them.
pub const JSON: &str = "application/json";
/// The content type of NDJSON: one message a line.
pub const NDJSON: &str = "application/x-ndjson";
/// The path of single messages and of history.
pub const MESSAGES: &str = "/v1/messages";
/// The path of batches.
pub const BATCH: &str = "/v1/messages/batch";

/// Time limit for what a healthy server does at once.
pub const SOON: Duration = Duration::from_secs(20);
/// Time limit for the store to have what was published; generous, since the machine may be busy.
const COMMIT: Duration = Duration::from_secs(60);

/// A valid message.
pub fn good() -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "good day"})
}

/// Fails the test unless the response is a complete problem document with this status; returns the document.
#[track_caller]
pub fn problem(answer: &Answer, status: u16) -> Value {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{text}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{text}");
    for member in ["code", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {text}");
    }
    problem
}

/// Fails the test unless the response is a problem document with this status and code; returns the document.
#[track_caller]
pub fn problem_code(answer: &Answer, status: u16, code: &str) -> Value {
    let problem = problem(answer, status);
    assert_eq!(problem["code"], code, "{problem}");
    problem
}

/// The `member` (`pointer` or `parameter`) of each error, sorted, each once. Fails the test if an error has
/// no detail.
#[track_caller]
pub fn named(problem: &Value, member: &str) -> BTreeSet<String> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {problem}"));
    let name = |error: &Value| {
        let detail = error["detail"].as_str().is_some_and(|text| !text.is_empty());
        assert!(detail, "no detail: {problem}");
        error[member].as_str().unwrap_or_else(|| panic!("no {member}: {problem}")).to_owned()
    };
    errors.iter().map(name).collect()
}

/// The set of these names.
pub fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// One page of history, with its messages as they came.
#[derive(Debug)]
pub struct Page {
    /// The messages, as text.
    pub messages: Vec<String>,
    /// The cursor of the next page.
    pub next: Option<u64>,
    /// The sequence up to which history is complete.
    pub committed_through: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    messages: Vec<Box<RawValue>>,
    next: Value,
    committed_through: u64,
}

/// `GET /v1/messages?query`, which must succeed and have exactly the members of a page.
pub async fn page(http: &Http, query: &str) -> Page {
    let answer = http.get(&format!("{MESSAGES}?{query}")).await;
    assert_eq!(answer.status, 200, "?{query}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some(JSON));
    let wire: Wire = serde_json::from_slice(&answer.bytes)
        .unwrap_or_else(|error| panic!("?{query} is no page: {error}: {}", answer.text()));
    assert!(wire.next.is_null() || wire.next.is_u64(), "{}", wire.next);
    let messages = wire.messages.iter().map(|message| message.get().to_owned()).collect();
    Page { messages, next: wire.next.as_u64(), committed_through: wire.committed_through }
}

/// All messages that a query selects, page by page.
pub async fn pages(http: &Http, query: &str) -> Vec<String> {
    let cursor = if query.contains("order=desc") { "before" } else { "after" };
    let limit = query.split('&').find_map(|part| part.strip_prefix("limit=")?.parse().ok());
    let (mut found, mut from, mut last) = (Vec::new(), String::new(), None);
    loop {
        let page = page(http, &format!("{query}{from}")).await;
        assert!(
            page.messages.len() <= limit.unwrap_or(usize::MAX),
            "?{query}: more than the limit"
        );
        found.extend(page.messages);
        let Some(next) = page.next else { return found };
        assert_ne!(last.replace(next), Some(next), "?{query}: the pages do not move on");
        from = format!("&{cursor}={next}");
    }
}

/// Waits until history has everything up to `seq`.
pub async fn committed(http: &Http, seq: u64) {
    eventually(COMMIT, "history has what was posted", async || {
        (page(http, "limit=1").await.committed_through >= seq).then_some(())
    })
    .await;
}

/// Like [`committed`], for a server that may be unable to respond for a while.
pub async fn committed_at_last(http: &Http, seq: u64) {
    eventually(COMMIT, "history has what was posted", async || {
        (committed_through(http).await? >= seq).then_some(())
    })
    .await;
}

/// The sequence up to which history is complete; `None` while the server cannot respond.
pub async fn committed_through(http: &Http) -> Option<u64> {
    let answer = http.request(Method::GET, "/v1/messages?limit=1", &[], "").await.ok()?;
    (answer.status == 200).then(|| answer.json()["committed_through"].as_u64())?
}

/// The sequence at the start of a message.
#[track_caller]
pub fn seq_of(body: &str) -> u64 {
    let digits =
        body.strip_prefix("{\"seq\":").and_then(|rest| rest.split_once(',')).map(|it| it.0);
    digits.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("seq is not first: {body}"))
}

/// The sequences of messages.
pub fn seqs_of(bodies: &[String]) -> Vec<u64> {
    bodies.iter().map(|body| seq_of(body)).collect()
}

/// Whether a NATS pattern matches a subject.
pub fn wildcard(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// JSON text without the white space between its tokens.
pub fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

/// Fails the test unless the server is alive, accepts a message, returns it, and has not panicked.
pub async fn still_serves(d: &Deployment) {
    d.http().get("/livez").await.expect(200);
    let ack = d.http().post_json("/v1/messages?ack=committed", &good()).await.expect(201).json();
    let location = format!("{MESSAGES}/{}", ack["id"].as_str().expect("id"));
    d.http().get(&location).await.expect(200);
    let log = d.agentbus().log();
    assert!(!log.contains("panicked"), "{log}");
}

/// Fails the test unless the response is a problem document with one of these statuses.
#[track_caller]
pub fn refused(answer: &Answer, statuses: &[u16]) -> Value {
    assert!(statuses.contains(&answer.status), "{}: {}", answer.status, answer.text());
    problem(answer, answer.status)
}
