//! Leases: begin, settle, extend (contract, section 8).

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::batch::{Batch, BatchFormat};
use super::body::RequestBody;
use super::describe::{params as described, schemas};
use super::encode::{array, json, json_bytes};
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::limits::MAX_LEASE_BYTES;
use crate::message::format_micros;
use crate::services::queues::{LeaseAction, LeaseRequest, LeasedJob, Settled, Settlement};
use crate::services::{Code, Error};

/// Leases jobs. With `wait_s`, waits until there is one.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/lease",
    tag = "Queues",
    params(described::QueueName),
    request_body = Option<schemas::LeaseRequest>,
    responses((status = 200, description = "The jobs, each leased to this worker.", body = schemas::LeasedJobs), (status = 204, description = "No job came within `wait_s`, or there is no such queue.")),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::InvalidName, Code::Forbidden, Code::NotFound, Code::StoreUnavailable, Code::BusUnavailable, Code::Draining]))),
)]
pub(super) async fn lease(
    Call { services, context }: Call,
    queue: Segment,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let queue = path::queue(queue)?;
    services.queues.check_work(context.principal(), &queue)?;
    let request = LeaseRequest::parse(&body.optional_json().await?);
    let request = request.map_err(|error| Error::from(error).about("lease request"))?;
    // Checked before the lease: a job whose response could not be sent would lose an attempt.
    context.check_response(MAX_LEASE_BYTES)?;
    let _waiting = context.wait_permit()?;
    let jobs = services.queues.lease(context.principal(), &queue, &request).await?;
    if jobs.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let body = encode(&jobs);
    if let Err(refusal) = context.reserve_response(body.len()) {
        services.queues.return_undelivered(context.principal(), jobs).await;
        return Err(refusal);
    }
    Ok(json_bytes(body))
}

/// The JSON of leased jobs, each with its stored bytes unchanged.
fn encode(jobs: &[LeasedJob]) -> Vec<u8> {
    let bytes: usize = jobs.iter().map(|job| job.body.len() + job.token.len() + 120).sum();
    let mut out = Vec::with_capacity(bytes + 16);
    out.extend_from_slice(b"{\"jobs\":");
    array(jobs, &mut out, |job, out| {
        out.extend_from_slice(job.body.strip_suffix(b"}").unwrap_or(&job.body));
        let LeasedJob { attempt, token, expires_at, trace, .. } = job;
        let until = format_micros(*expires_at);
        for (name, value) in trace.iter().flat_map(|trace| trace.headers()) {
            out.extend_from_slice(format!(",\"{name}\":{}", serde_json::json!(value)).as_bytes());
        }
        let end = format!(
            ",\"attempt\":{attempt},\"lease_token\":\"{token}\",\"lease_expires_at\":\"{until}\"}}"
        );
        out.extend_from_slice(end.as_bytes());
    });
    out.push(b'}');
    out
}

/// The response to a settled lease.
#[derive(Serialize)]
struct SettledLease {
    /// The item's status; only in the results of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<String>,
}

impl SettledLease {
    fn new(settled: Settled, status: Option<u16>) -> Self {
        let (lease_token, lease_expires_at) = match settled {
            Settled::Ended => (None, None),
            Settled::Extended { token, expires_at } => {
                (Some(token), Some(format_micros(expires_at)))
            }
        };
        Self { status, lease_token, lease_expires_at }
    }
}

/// Ends or extends one lease.
#[utoipa::path(
    post,
    path = "/v1/leases/{token}/{action}",
    tag = "Queues",
    params(described::LeaseToken),
    request_body = Option<schemas::SettlementDetails>,
    responses((status = 200, description = "The lease is settled.", body = schemas::SettledLease)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::InvalidToken, Code::UndecodableJob, Code::Forbidden, Code::NotFound, Code::LeaseLost, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn settle(
    Call { services, context }: Call,
    path: Result<Path<(String, String)>, PathRejection>,
    _: NoParams,
    body: RequestBody,
) -> Result<Response, Problem> {
    let unknown = || Error::not_found("the actions on a lease are ack, nack, extend and fail");
    let Path((token, name)) = path.map_err(|_| unknown())?;
    let body = body.optional_json().await?;
    let action = LeaseAction::parse(&name, &body).ok_or_else(unknown)?;
    let action = action.map_err(|error| Error::from(error).about("settlement"))?;
    let settlement = Settlement { token, action };
    let settled = services.queues.settle(context.principal(), settlement).await?;
    Ok(json(&SettledLease::new(settled, None)))
}

/// Ends or extends many leases, with one result for each, in input order.
#[utoipa::path(
    post,
    path = "/v1/leases/settle",
    tag = "Queues",
    request_body(description = "A JSON array, or one item a line; at most 1,000 items and 8 MiB.", content((Vec<schemas::Settlement> = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "One result for each lease, in the order of the settlements.", body = schemas::SettlementResults)),
    extensions(("x-codes" = json!([Code::InvalidMessage, Code::StoreUnavailable, Code::BusUnavailable]))),
)]
pub(super) async fn settle_batch(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
    body: RequestBody,
) -> Result<Response, Problem> {
    let format = BatchFormat::of(body.headers())?;
    params::none(query.as_deref())?;
    let body = body.read().await?;
    let batch = Batch::parse(format, &body, "settlements", Settlement::parse).await?;
    let batch = batch.about("settlement");
    let results = services.queues.settle_all(context.principal(), &batch.items).await;
    let results =
        batch.results(context.id(), results, |settled| SettledLease::new(settled, Some(200)))?;
    // A `Value` sorts its members by name, and clients have always received them in this order.
    Ok(json(&serde_json::json!(results)))
}
