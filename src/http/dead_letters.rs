//! `/v1/dead-letters`: what could not be processed, and what becomes of it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::Shared;
use super::body::Upload;
use super::messages::{axum_json, json_bytes};
use super::params;
use super::problem::Problem;
use crate::dead_letters::Redrive;
use crate::message::{Principal, format_micros, parse_uuid, splice_seq};
use crate::store::work::{DeadLetter, DeadLetterKind};

type Id = Result<Path<String>, PathRejection>;

/// A page of them, by rising id.
pub(super) async fn page(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = params::dead_letters(query.as_deref())?;
    let page = api.dead_letters.page(&Principal::Anonymous, &query).await?;
    let mut out = b"{\"dead_letters\":[".to_vec();
    for (at, letter) in page.letters.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        encode(letter, &mut out);
    }
    let next = match page.letters.last() {
        Some(last) if page.more => format!("\"{}\"", last.id),
        _ => "null".to_owned(),
    };
    out.extend_from_slice(format!("],\"next\":{next}}}").as_bytes());
    Ok(json_bytes(out))
}

/// One of them.
pub(super) async fn one(
    State(api): State<Shared>,
    id: Id,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let found = api.dead_letters.one(&Principal::Anonymous, read_id(id)?).await?;
    let mut out = Vec::new();
    encode(&found.ok_or_else(missing)?, &mut out);
    Ok(json_bytes(out))
}

#[derive(Serialize)]
struct Redriven {
    redriven: u64,
    #[serde(skip_serializing_if = "is_zero")]
    skipped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Sends one back to where it failed.
pub(super) async fn redrive(
    State(api): State<Shared>,
    id: Id,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    upload.ignore().await?;
    match api.dead_letters.redrive(&Principal::Anonymous, read_id(id)?).await? {
        Redrive::Done => Ok(axum_json(&Redriven { redriven: 1, skipped: 0 })),
        Redrive::Missing => Err(missing()),
        Redrive::SourceGone => Err(Problem::new(
            StatusCode::CONFLICT,
            "source_gone",
            "the consumer, webhook or queue of this dead letter is no more",
        )),
        Redrive::Taken => Err(Problem::new(
            StatusCode::CONFLICT,
            "redrive_conflict",
            "the stream of jobs holds another entry under the id of this redrive; it stays a dead letter",
        )),
    }
}

/// Sends all of a source back, or all there are.
pub(super) async fn redrive_all(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let query = params::redrive(query.as_deref())?;
    upload.ignore().await?;
    let done = api.dead_letters.redrive_all(&Principal::Anonymous, &query).await?;
    Ok(axum_json(&Redriven { redriven: done.redriven, skipped: done.skipped }))
}

/// Forgets one.
pub(super) async fn discard(
    State(api): State<Shared>,
    id: Id,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<StatusCode, Problem> {
    params::none(query.as_deref())?;
    upload.ignore().await?;
    let gone = api.dead_letters.discard(&Principal::Anonymous, read_id(id)?).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

fn missing() -> Problem {
    Problem::not_found("there is no dead letter with this id")
}

/// What is no id names no dead letter.
fn read_id(id: Id) -> Result<Uuid, Problem> {
    let Path(id) = id.map_err(|_| missing())?;
    parse_uuid(&id).map_err(|_| missing())
}

#[derive(Serialize)]
struct Head<'a> {
    id: Uuid,
    kind: &'static str,
    source: &'a str,
    seq: u64,
    subject: &'a str,
    reason: &'a str,
    attempts: Vec<Attempt<'a>>,
    died_at: String,
}

#[derive(Serialize)]
struct Attempt<'a> {
    attempt: u32,
    at: String,
    error: &'a str,
}

/// A letter around its message or job as it is kept: nothing is encoded again.
fn encode(letter: &DeadLetter, out: &mut Vec<u8>) {
    let attempts = letter.attempts.iter().map(|told| Attempt {
        attempt: told.attempt,
        at: format_micros(told.at),
        error: &told.error,
    });
    let head = Head {
        id: letter.id,
        kind: letter.kind.as_str(),
        source: &letter.source,
        seq: letter.seq,
        subject: &letter.subject,
        reason: &letter.reason,
        attempts: attempts.collect(),
        died_at: format_micros(letter.died_at),
    };
    // Text and numbers alone: this cannot fail.
    let head = serde_json::to_vec(&head).unwrap_or_default();
    out.extend_from_slice(head.strip_suffix(b"}").unwrap_or_default());
    match letter.kind {
        DeadLetterKind::Message => {
            out.extend_from_slice(b",\"message\":");
            splice_seq(letter.seq, &letter.body, out);
        }
        DeadLetterKind::Job => {
            out.extend_from_slice(b",\"job\":");
            out.extend_from_slice(&letter.body);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use chrono::DateTime;

    fn shown(kind: DeadLetterKind, body: &'static str) -> String {
        let at = DateTime::from_timestamp_micros(1_790_000_000_000_001).expect("a time");
        let letter = DeadLetter {
            id: Uuid::nil(),
            kind,
            source: "q".to_owned(),
            seq: 7,
            subject: "a\0\"".to_owned(),
            body: Bytes::from_static(body.as_bytes()),
            attempts: vec![crate::store::work::Attempt { attempt: 1, at, error: "e".to_owned() }],
            reason: "r".to_owned(),
            died_at: at,
        };
        let mut out = Vec::new();
        encode(&letter, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_letter_holds_the_very_bytes_of_its_message_or_job() {
        let head = r#""source":"q","seq":7,"subject":"a\u0000\"","reason":"r","attempts":[{"attempt":1,"at":"2026-09-21T14:13:20.000001Z","error":"e"}],"died_at":"2026-09-21T14:13:20.000001Z""#;
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            shown(DeadLetterKind::Message, r#"{"n": 1.0e2}"#),
            format!(r#"{{"id":"{id}","kind":"message",{head},"message":{{"seq":7,"n": 1.0e2}}}}"#)
        );
        assert_eq!(
            shown(DeadLetterKind::Job, r#"{"job_id":"x"}"#),
            format!(r#"{{"id":"{id}","kind":"job",{head},"job":{{"job_id":"x"}}}}"#)
        );
    }
}
