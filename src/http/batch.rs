//! `POST /v1/messages/batch`: many messages in, one result each, in order.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Shared;
use super::body::{media_type, read, unsupported};
use super::messages::{axum_json, durability, idempotency_key};
use super::params;
use super::problem::{ItemError, Problem};
use crate::ingest::Receipt;
use crate::limits::MAX_BATCH_MESSAGES;
use crate::message::{Draft, DraftError, ParameterError, Principal};

#[derive(Serialize)]
struct Answer {
    accepted: usize,
    rejected: usize,
    results: Vec<Item>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Accepted { status: u16, seq: u64, id: Uuid, duplicate: bool, durability: &'static str },
    Rejected { status: u16, error: ItemError },
}

/// Takes a batch in.
pub(super) async fn create(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let lines = match media_type(&headers).as_deref() {
        Some("application/x-ndjson" | "application/ndjson") => true,
        Some("application/json") => false,
        _ => return Err(unsupported("application/x-ndjson, or application/json for an array")),
    };
    let level = params::post(query.as_deref())?;
    if idempotency_key(&headers)?.is_some() {
        let parameter = "Idempotency-Key".to_owned();
        let detail = "is for one message: give each message of a batch its id".to_owned();
        return Err(Problem::parameters(vec![ParameterError { parameter, detail }]));
    }
    let bytes = read(&api.bodies, &headers, body).await?;
    let items = if lines { parse_lines(&bytes)? } else { parse_array(&bytes)? };
    let (mut drafts, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match item {
            Ok(draft) => {
                drafts.push(draft);
                faults.push(None);
            }
            Err(error) => faults.push(Some(Problem::from(error))),
        }
    }
    let receipts = api.ingest.publish(&Principal::Anonymous, &drafts, level).await;
    let results = receipts.into_iter().map(|result| result.map_err(Problem::from));
    answer(results, faults)
}

/// Puts results and faults back into input order.
fn answer(
    mut results: impl Iterator<Item = Result<Receipt, Problem>>,
    faults: Vec<Option<Problem>>,
) -> Result<Response, Problem> {
    let mut all = Vec::with_capacity(faults.len());
    for fault in faults {
        match fault {
            Some(problem) => all.push(Err(problem)),
            None => all.extend(results.next()),
        }
    }
    let unavailable = |result: &Result<Receipt, Problem>| matches!(result, Err(p) if p.status() == StatusCode::SERVICE_UNAVAILABLE);
    if !all.is_empty() && all.iter().all(unavailable) {
        return Err(all
            .into_iter()
            .find_map(Result::err)
            .unwrap_or_else(|| Problem::overloaded("no message of the batch was taken")));
    }
    let results: Vec<Item> = all.into_iter().map(item).collect();
    let accepted = results.iter().filter(|item| matches!(item, Item::Accepted { .. })).count();
    Ok(axum_json(&Answer { accepted, rejected: results.len() - accepted, results }))
}

fn item(result: Result<Receipt, Problem>) -> Item {
    match result {
        Ok(receipt) => Item::Accepted {
            status: if receipt.duplicate { 200 } else { 201 },
            seq: receipt.seq,
            id: receipt.id,
            duplicate: receipt.duplicate,
            durability: durability(&receipt),
        },
        Err(problem) => {
            Item::Rejected { status: problem.status().as_u16(), error: problem.into_item() }
        }
    }
}

type Parsed = Vec<Result<Draft, DraftError>>;

/// One message a line; blank lines are skipped but counted in positions.
fn parse_lines(body: &Bytes) -> Result<Parsed, Problem> {
    let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    let lines: Vec<(usize, &[u8])> = body
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !blank(line))
        .take(MAX_BATCH_MESSAGES + 1)
        .collect();
    refuse_many(lines.len())?;
    let parsed = lines.into_iter().map(|(before, text)| {
        Draft::parse(text).map_err(|error| match error {
            DraftError::Syntax { line, column, detail } => {
                DraftError::Syntax { line: before + line, column, detail }
            }
            other @ DraftError::Invalid(_) => other,
        })
    });
    Ok(parsed.collect())
}

/// The elements of one JSON array.
fn parse_array(body: &Bytes) -> Result<Parsed, Problem> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_message",
                "a batch in JSON must be an array of messages",
            )
        } else {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("line {}, column {}: {error}", error.line(), error.column()),
            )
        }
    })?;
    refuse_many(elements.len())?;
    Ok(elements.iter().map(|element| Draft::parse(element.get().as_bytes())).collect())
}

fn refuse_many(messages: usize) -> Result<(), Problem> {
    if messages > MAX_BATCH_MESSAGES {
        return Err(Problem::too_large(format!(
            "a batch has at most {MAX_BATCH_MESSAGES} messages"
        )));
    }
    Ok(())
}
