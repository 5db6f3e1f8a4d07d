//! `/v1/dead-letters`: list, redrive, discard (contract, section 10).

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{array, json, json_bytes};
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::message::{format_micros, splice_seq};
use crate::services::dead_letters::{DeadLetter, DeadLetterKind, DeadLetters};
use crate::services::{Code, Error};

/// A page of dead letters, in ascending order of their ids.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "Processing",
    params(described::DeadLetterFilter, described::DeadLetterRange),
    responses((status = 200, description = "A page of dead letters.", body = schemas::DeadLetterPage)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = params::dead_letters(query.as_deref())?;
    let page = services.dead_letters.page(context.principal(), &query).await?;
    let mut out = b"{\"dead_letters\":".to_vec();
    array(&page.letters, &mut out, encode);
    let next = page.next.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    out.extend_from_slice(format!(",\"next\":{next}}}").as_bytes());
    Ok(json_bytes(out))
}

/// One dead letter by its id.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    tag = "Processing",
    params(described::DeadLetterId),
    responses((status = 200, description = "The dead letter.", body = schemas::DeadLetter)),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let letter = services.dead_letters.one(context.principal(), id_of(id)?).await?;
    let mut out = Vec::new();
    encode(&letter, &mut out);
    Ok(json_bytes(out))
}

/// Returns one dead letter to its source.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/redrive",
    tag = "Processing",
    params(described::DeadLetterId),
    responses((status = 200, description = "It was returned to its source.", body = schemas::Redriven)),
    extensions(("x-codes" = json!([Code::NotFound, Code::SourceGone, Code::RedriveConflict, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn redrive(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    body.ignore().await?;
    Ok(json(&services.dead_letters.redrive(context.principal(), id_of(id)?).await?))
}

/// Returns the dead letters of one source, or all, to their sources.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/redrive",
    tag = "Processing",
    params(described::DeadLetterFilter),
    responses((status = 200, description = "How many were returned to their source.", body = schemas::Redriven)),
    extensions(("x-codes" = json!([Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn redrive_all(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<Response, Problem> {
    let query = params::redrive(query.as_deref())?;
    body.ignore().await?;
    Ok(json(&services.dead_letters.redrive_all(context.principal(), &query).await?))
}

/// Deletes one dead letter.
#[utoipa::path(
    delete,
    path = "/v1/dead-letters/{id}",
    tag = "Processing",
    params(described::DeadLetterId),
    responses((status = 204, description = "The dead letter is deleted.")),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn discard(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    body.ignore().await?;
    services.dead_letters.discard(context.principal(), id_of(id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn id_of(id: Segment) -> Result<Uuid, Error> {
    path::uuid(id).ok_or_else(DeadLetters::missing)
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

/// Appends a dead letter as JSON, with the stored bytes of its message or job unchanged.
fn encode(letter: &DeadLetter, out: &mut Vec<u8>) {
    let attempts = letter.attempts.iter().map(|failed| Attempt {
        attempt: failed.attempt,
        at: format_micros(failed.at),
        error: &failed.error,
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
    // The head has only texts and numbers, so this cannot fail.
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

    fn encoded(kind: DeadLetterKind, body: &'static str) -> String {
        let at = DateTime::from_timestamp_micros(1_790_000_000_000_001).expect("a time");
        let letter = DeadLetter {
            id: Uuid::nil(),
            kind,
            source: "q".to_owned(),
            seq: 7,
            subject: "a\0\"".to_owned(),
            body: Bytes::from_static(body.as_bytes()),
            attempts: vec![crate::services::dead_letters::Attempt {
                attempt: 1,
                at,
                error: "e".to_owned(),
            }],
            reason: "r".to_owned(),
            died_at: at,
        };
        let mut out = Vec::new();
        encode(&letter, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_dead_letter_has_the_unchanged_bytes_of_its_message_or_job() {
        let head = r#""source":"q","seq":7,"subject":"a\u0000\"","reason":"r","attempts":[{"attempt":1,"at":"2026-09-21T14:13:20.000001Z","error":"e"}],"died_at":"2026-09-21T14:13:20.000001Z""#;
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            encoded(DeadLetterKind::Message, r#"{"n": 1.0e2}"#),
            format!(r#"{{"id":"{id}","kind":"message",{head},"message":{{"seq":7,"n": 1.0e2}}}}"#)
        );
        assert_eq!(
            encoded(DeadLetterKind::Job, r#"{"job_id":"x"}"#),
            format!(r#"{{"id":"{id}","kind":"job",{head},"job":{{"job_id":"x"}}}}"#)
        );
    }
}
