//! `/v1/queues`: configuration, state, enqueueing (contract, section 8).

use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::batch::{Batch, BatchFormat};
use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{created, json as json_response};
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::limits::BATCH_ITEM_BYTES;
use crate::services::queues::{Enqueued, NewJob, QueueConfig, QueueState, in_seconds};
use crate::services::{Code, Error};

/// The members with which every document of a queue begins: its name and configuration.
fn head(name: &str, config: &QueueConfig) -> Map<String, Value> {
    let config = config.to_json().map(|(name, value)| (name.to_owned(), value));
    std::iter::once(("queue".to_owned(), json!(name))).chain(config).collect()
}

fn view(state: &QueueState) -> Value {
    let mut view = head(&state.name, &state.config);
    let age = state.oldest_age.map_or(Value::Null, in_seconds);
    view.extend(
        [
            ("waiting", json!(state.waiting)),
            ("leased", json!(state.leased)),
            ("delayed", json!(state.delayed)),
            ("oldest_age_s", age),
            ("dead_letters", json!(state.dead_letters)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Value::Object(view)
}

/// Creates a queue, or changes its configuration.
#[utoipa::path(
    put,
    path = "/v1/queues/{queue}",
    tag = "Queues",
    params(described::QueueName),
    request_body = Option<schemas::QueueRules>,
    responses((status = 201, description = "The queue was made.", body = schemas::QueueConfig), (status = 200, description = "The queue was there already and has these rules now.", body = schemas::QueueConfig)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::InvalidName, Code::TooManyQueues, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn put(
    Call { services, context }: Call,
    queue: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let queue = path::queue(queue)?;
    let config = QueueConfig::parse(&body.optional_json().await?)?;
    let is_new = services.queues.put(context.principal(), &queue, &config).await?;
    let response = json_response(&head(queue.as_str(), &config));
    Ok(if is_new { created(&format!("/v1/queues/{queue}"), response) } else { response })
}

/// A page of the list of queues, ordered by name.
#[utoipa::path(
    get,
    path = "/v1/queues",
    tag = "Queues",
    params(described::NamePage),
    responses((status = 200, description = "A page of queues.", body = schemas::QueuePage)),
    extensions(("x-codes" = json!([Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn list(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = params::names(query.as_deref())?;
    let page = services.queues.page(context.principal(), after.as_ref(), limit).await?;
    let views: Vec<Value> = page.items.iter().map(view).collect();
    Ok(json_response(&json!({ "queues": views, "next": page.next })))
}

/// One queue.
#[utoipa::path(
    get,
    path = "/v1/queues/{queue}",
    tag = "Queues",
    params(described::QueueName),
    responses((status = 200, description = "The queue.", body = schemas::Queue)),
    extensions(("x-codes" = json!([Code::NotFound, Code::InvalidName, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    queue: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let queue = path::queue(queue)?;
    Ok(json_response(&view(&services.queues.one(context.principal(), &queue).await?)))
}

/// Deletes a queue.
#[utoipa::path(
    delete,
    path = "/v1/queues/{queue}",
    tag = "Queues",
    params(described::QueueName, described::DeleteOptions),
    responses((status = 204, description = "The queue is deleted.")),
    extensions(("x-codes" = json!([Code::NotFound, Code::InvalidName, Code::QueueNotEmpty, Code::QueueLeased, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn delete(
    Call { services, context }: Call,
    queue: Segment,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<StatusCode, Problem> {
    let force = params::force(query.as_deref())?;
    let queue = path::queue(queue)?;
    body.ignore().await?;
    services.queues.delete(context.principal(), &queue, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The response to one job.
#[derive(Serialize)]
struct AcceptedJob {
    job_id: Uuid,
    seq: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// The result of one job in a batch.
#[derive(Serialize)]
struct AcceptedItem {
    status: u16,
    seq: u64,
    job_id: Uuid,
    duplicate: bool,
}

/// 201, or 200 for a duplicate.
fn status(enqueued: &Enqueued) -> StatusCode {
    if enqueued.duplicate { StatusCode::OK } else { StatusCode::CREATED }
}

/// Enqueues one job.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/jobs",
    tag = "Queues",
    params(described::QueueName),
    request_body = schemas::NewJob,
    responses((status = 201, description = "The queue has the job.", body = schemas::JobReceipt), (status = 200, description = "The job was there already.", body = schemas::JobReceipt)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::InvalidName, Code::Forbidden, Code::NotFound, Code::IdempotencyConflict, Code::TooManyQueues, Code::DelayUnsupported, Code::StoreUnavailable, Code::BusUnavailable, Code::Draining]))),
)]
pub(super) async fn enqueue(
    Call { services, context }: Call,
    queue: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let queue = path::queue(queue)?;
    services.queues.check_enqueue(context.principal(), &queue)?;
    let body = body.json().await?;
    let job = NewJob::parse(&body).map_err(|error| Error::from(error).about("job"))?;
    let job = job.traced(context.trace());
    let done = services.queues.enqueue(context.principal(), &queue, job).await?;
    let status = status(&done);
    let Enqueued { id, seq, duplicate } = done;
    Ok((status, json_response(&AcceptedJob { job_id: id, seq, duplicate })).into_response())
}

/// Enqueues a batch of jobs, with one result for each, in input order.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/jobs/batch",
    tag = "Queues",
    params(described::QueueName),
    request_body(description = "A JSON array, or one item a line; at most 1,000 items and 8 MiB.", content((Vec<schemas::NewJob> = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "One result for each job, in their order.", body = schemas::JobBatchResults)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::InvalidName, Code::Forbidden, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable, Code::Draining]))),
)]
pub(super) async fn enqueue_batch(
    Call { services, context }: Call,
    queue: Segment,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<Response, Problem> {
    let queue = path::queue(queue);
    if let Ok(queue) = &queue {
        services.queues.check_enqueue(context.principal(), queue)?;
    }
    let format = BatchFormat::of(body.headers())?;
    params::none(query.as_deref())?;
    let queue = queue?;
    let body = body.read().await?;
    let read = |json: &[u8]| Ok(NewJob::parse(json)?.traced(context.trace()));
    let mut batch = Batch::parse(format, &body, "jobs", read).await?.about("job");
    let mut permit = body.into_permit();
    permit.grow(batch.items.len() * BATCH_ITEM_BYTES)?;
    let jobs = std::mem::take(&mut batch.items);
    let results = services.queues.enqueue_all(context.principal(), &queue, jobs).await;
    let results = batch.results(context.id(), results, |done| AcceptedItem {
        status: status(&done).as_u16(),
        seq: done.seq,
        job_id: done.id,
        duplicate: done.duplicate,
    })?;
    // A `Value` sorts its members by name, and clients have always received them in this order.
    Ok(json_response(&json!(results)))
}
