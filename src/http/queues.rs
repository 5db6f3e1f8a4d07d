//! `/v1/queues`: their rules, what they hold, jobs in.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::Upload;
use super::messages::axum_json;
use super::problem::{ItemError, Problem};
use super::{Shared, items, params};
use crate::limits::BATCH_ITEM_BYTES;
use crate::message::Token;
use crate::queues::{Enqueued, NewJob, QueueConfig, QueueState, in_seconds};

/// The queue that a path names.
pub(super) fn named(path: Result<Path<String>, PathRejection>) -> Result<Token, Problem> {
    let Ok(Path(name)) = path else {
        return Err(Problem::not_found("a queue's name is UTF-8"));
    };
    name.parse().map_err(|rule| Problem::name("queue", rule))
}

fn view(state: &QueueState) -> Value {
    let mut view = Map::new();
    view.insert("queue".to_owned(), json!(state.name));
    for (name, value) in state.config.to_json() {
        view.insert(name.to_owned(), value);
    }
    for (name, count) in
        [("waiting", state.waiting), ("leased", state.leased), ("delayed", state.delayed)]
    {
        view.insert(name.to_owned(), json!(count));
    }
    let age = state.oldest_age.map_or(Value::Null, in_seconds);
    view.insert("oldest_age_s".to_owned(), age);
    view.insert("dead_letters".to_owned(), json!(state.dead_letters));
    Value::Object(view)
}

/// Makes a queue, or gives it other rules.
pub(super) async fn put(
    State(api): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let queue = named(path)?;
    let bytes = upload.optional_json().await?;
    let config = QueueConfig::parse(&bytes)?;
    let made = api.queues.put(&queue, &config).await?;
    let mut view = Map::new();
    view.insert("queue".to_owned(), json!(queue.as_str()));
    view.extend(config.to_json().map(|(name, value)| (name.to_owned(), value)));
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, axum_json(&view)).into_response();
    if made && let Ok(location) = HeaderValue::try_from(format!("/v1/queues/{queue}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// A page of queues.
pub(super) async fn list(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = params::tokens(query.as_deref())?;
    let mut states = api.queues.list(after.as_ref().map(Token::as_str), limit + 1).await?;
    let more = states.len() > limit;
    states.truncate(limit);
    let next = states.last().filter(|_| more).map(|state| state.name.clone());
    let views: Vec<Value> = states.iter().map(view).collect();
    Ok(axum_json(&json!({ "queues": views, "next": next })))
}

/// One queue.
pub(super) async fn one(
    State(api): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let queue = named(path)?;
    let state = api.queues.get(&queue).await?;
    Ok(axum_json(&view(&state.ok_or_else(|| missing(&queue))?)))
}

/// Deletes one, with what waits in it if it is forced to.
pub(super) async fn delete(
    State(api): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<StatusCode, Problem> {
    let force = params::force(query.as_deref())?;
    let queue = named(path)?;
    upload.ignore().await?;
    if api.queues.delete(&queue, force).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(missing(&queue))
}

fn missing(queue: &Token) -> Problem {
    Problem::not_found(format!("there is no queue {queue}"))
}

#[derive(Serialize)]
struct Answer {
    job_id: Uuid,
    seq: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Takes one job in.
pub(super) async fn enqueue(
    State(api): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let queue = named(path)?;
    let bytes = upload.json().await?;
    let job = NewJob::parse(&bytes).map_err(|error| Problem::from(error).of("job"))?;
    let mut answers = api.queues.enqueue(&queue, &[job]).await;
    let done = answers.pop().ok_or_else(|| Problem::overloaded("the server is stopping"))??;
    let status = if done.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let Enqueued { id, seq, duplicate } = done;
    Ok((status, axum_json(&Answer { job_id: id, seq, duplicate })).into_response())
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Accepted { status: u16, seq: u64, job_id: Uuid, duplicate: bool },
    Rejected { status: u16, error: ItemError },
}

/// Takes a batch of jobs in.
pub(super) async fn enqueue_batch(
    State(api): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    upload: Upload,
) -> Result<Response, Problem> {
    let form = items::form(upload.headers())?;
    params::none(query.as_deref())?;
    let queue = named(path)?;
    let bytes = upload.read().await?;
    let (jobs, faults) = items::split(items::parse(form, &bytes, "jobs", NewJob::parse).await?);
    let mut counted = bytes.parsed();
    counted.grow(jobs.len() * BATCH_ITEM_BYTES)?;
    let answers =
        if jobs.is_empty() { Vec::new() } else { api.queues.enqueue(&queue, &jobs).await };
    let all = items::in_order(answers.into_iter().map(|a| a.map_err(Problem::from)), faults);
    if let Some(problem) = items::all_unavailable(&all) {
        return Err(problem);
    }
    let accepted = all.iter().filter(|result| result.is_ok()).count();
    let results: Vec<Item> = all.into_iter().map(item).collect();
    let rejected = results.len() - accepted;
    Ok(axum_json(&json!({ "accepted": accepted, "rejected": rejected, "results": results })))
}

fn item(result: Result<Enqueued, Problem>) -> Item {
    match result {
        Ok(Enqueued { id, seq, duplicate }) => {
            Item::Accepted { status: if duplicate { 200 } else { 201 }, seq, job_id: id, duplicate }
        }
        Err(problem) => {
            let problem = problem.of("job");
            Item::Rejected { status: problem.status().as_u16(), error: problem.into_item() }
        }
    }
}
