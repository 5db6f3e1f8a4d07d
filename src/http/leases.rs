//! Leases: jobs out, and what became of them.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::body::Upload;
use super::messages::{axum_json, json_bytes};
use super::problem::{ItemError, Problem};
use super::queues::named;
use super::{Shared, items, params};
use crate::limits::MAX_LEASE_BYTES;
use crate::message::format_micros;
use crate::queues::{LeaseAction, LeaseRequest, LeasedJob, Settled, Settlement};

/// Leases jobs, waiting for them if asked to.
pub(super) async fn lease(
    State(api): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let queue = named(path)?;
    let work = upload.work().clone();
    let body = upload.optional_json().await?;
    let request =
        LeaseRequest::parse(&body).map_err(|error| Problem::from(error).of("lease request"))?;
    drop(body);
    // A job that could not be sent would lose an attempt.
    work.could_answer(MAX_LEASE_BYTES)?;
    let _standing_by = work.stand_by()?;
    let jobs = api.queues.lease(&queue, &request, &api.draining).await?;
    if jobs.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let answer = encode(&jobs);
    if let Err(refusal) = work.answer(answer.len()) {
        give_back(&api, jobs).await;
        return Err(refusal);
    }
    Ok(json_bytes(answer))
}

/// Jobs whose answer has no room go back at once. The attempt counts: they were handed out.
async fn give_back(api: &Shared, jobs: Vec<LeasedJob>) {
    let reason = Some("the worker left too many answers unread".to_owned());
    let back = |job: LeasedJob| Settlement {
        token: job.token,
        action: LeaseAction::Nack { delay: Some(Duration::ZERO), reason: reason.clone() },
    };
    let settlements: Vec<Settlement> = jobs.into_iter().map(back).collect();
    // Where that fails, the leases run out.
    let _ = api.queues.settle(&settlements).await;
}

/// The jobs as they are kept: nothing is encoded again.
fn encode(jobs: &[LeasedJob]) -> Vec<u8> {
    let bytes: usize = jobs.iter().map(|job| job.body.len() + job.token.len() + 120).sum();
    let mut out = Vec::with_capacity(bytes + 16);
    out.extend_from_slice(b"{\"jobs\":[");
    for (at, job) in jobs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(job.body.strip_suffix(b"}").unwrap_or(&job.body));
        let LeasedJob { attempt, token, expires_at, .. } = job;
        let until = format_micros(*expires_at);
        let end = format!(
            ",\"attempt\":{attempt},\"lease_token\":\"{token}\",\"lease_expires_at\":\"{until}\"}}"
        );
        out.extend_from_slice(end.as_bytes());
    }
    out.extend_from_slice(b"]}");
    out
}

/// Ends or prolongs one lease.
pub(super) async fn settle_one(
    State(api): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let unknown = || Problem::not_found("a lease takes ack, nack, extend and fail");
    let Path((token, name)) = path.map_err(|_| unknown())?;
    let bytes = upload.optional_json().await?;
    let action = LeaseAction::parse(&name, &bytes).ok_or_else(unknown)?;
    let action = action.map_err(|error| Problem::from(error).of("settlement"))?;
    let mut answers = api.queues.settle(&[Settlement { token, action }]).await;
    let done = answers.pop().ok_or_else(|| Problem::overloaded("the server is stopping"))??;
    Ok(axum_json(&Done::from(done)))
}

/// What is told of a lease that was settled.
#[derive(Serialize)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<String>,
}

impl From<Settled> for Done {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Ended => Self { lease_token: None, lease_expires_at: None },
            Settled::Extended { token, expires_at } => {
                Self { lease_token: Some(token), lease_expires_at: Some(format_micros(expires_at)) }
            }
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Done {
        status: u16,
        #[serde(flatten)]
        done: Done,
    },
    Rejected {
        status: u16,
        error: ItemError,
    },
}

/// Ends or prolongs many leases; one result each, in order.
pub(super) async fn settle(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let form = items::form(upload.headers())?;
    params::none(query.as_deref())?;
    let bytes = upload.read().await?;
    let parsed = items::parse(form, &bytes, "settlements", Settlement::parse).await?;
    let (settlements, faults) = items::split(parsed);
    let answers =
        if settlements.is_empty() { Vec::new() } else { api.queues.settle(&settlements).await };
    let all = items::in_order(answers.into_iter().map(|a| a.map_err(Problem::from)), faults);
    if let Some(problem) = items::all_unavailable(&all) {
        return Err(problem);
    }
    let accepted = all.iter().filter(|result| result.is_ok()).count();
    let rejected = all.len() - accepted;
    let results: Vec<Item> = all.into_iter().map(item).collect();
    Ok(axum_json(&json!({ "accepted": accepted, "rejected": rejected, "results": results })))
}

fn item(result: Result<Settled, Problem>) -> Item {
    match result {
        Ok(settled) => Item::Done { status: 200, done: Done::from(settled) },
        Err(problem) => {
            let problem = problem.of("settlement");
            Item::Rejected { status: problem.status().as_u16(), error: problem.into_item() }
        }
    }
}
