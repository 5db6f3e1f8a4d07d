//! Queues, jobs, leases (contract, section 8).

use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::base::{Name, Sequence, Time};
use super::problem::RejectedItem;

/// The rules of a queue. A missing member gets its default.
#[derive(ToSchema)]
#[schema(example = json!({"lease_s": 30, "max_deliver": 3, "backoff_s": [1, 5, 30]}))]
pub struct QueueRules {
    /// Seconds of a lease, up to 3,600. The default is 30.
    #[schema(required = false, minimum = 1, maximum = 3600)]
    lease_s: f64,
    /// Attempts until a job is a dead letter. The default is 3.
    #[schema(required = false, minimum = 1, maximum = 100)]
    max_deliver: u32,
    /// Seconds to wait after each failed attempt; the last one repeats. The default is 1, 5, 30.
    #[schema(required = false, min_items = 1, max_items = 20, value_type = Vec<Seconds>)]
    backoff_s: Vec<f64>,
}

/// Seconds, with fractions.
#[derive(ToSchema)]
#[schema(value_type = f64, minimum = 0, maximum = 86400)]
pub struct Seconds(f64);

/// A queue as it is configured.
#[derive(ToSchema)]
pub struct QueueConfig {
    queue: Name,
    /// Seconds of a lease.
    lease_s: f64,
    /// Attempts until a job is a dead letter.
    max_deliver: u32,
    /// Seconds to wait after each failed attempt; the last one repeats.
    backoff_s: Vec<f64>,
}

/// A queue and what it holds.
#[derive(ToSchema)]
pub struct Queue {
    queue: Name,
    /// Seconds of a lease.
    lease_s: f64,
    /// Attempts until a job is a dead letter.
    max_deliver: u32,
    /// Seconds to wait after each failed attempt; the last one repeats.
    backoff_s: Vec<f64>,
    /// Jobs that could be leased now.
    waiting: u64,
    /// Jobs that are leased now.
    leased: u64,
    /// Jobs that are not due yet.
    delayed: u64,
    /// Seconds since the oldest job was enqueued. Null if there is none.
    #[schema(required = true)]
    oldest_age_s: Option<f64>,
    dead_letters: u64,
}

/// A page of queues, in order of their names.
#[derive(ToSchema)]
pub struct QueuePage {
    queues: Vec<Queue>,
    /// The `after` of the next page. Null on the last page.
    #[schema(required = true)]
    next: Option<Name>,
}

/// Which of the waiting jobs come first.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Priority {
    High,
    Normal,
    Low,
}

/// A job to put into a queue.
#[derive(ToSchema)]
#[schema(example = json!({"type": "compile", "payload": {"crate": "parser"}}))]
pub struct NewJob {
    r#type: Name,
    /// Any JSON, nested at most 32 deep.
    #[schema(value_type = Value)]
    payload: Value,
    /// The default is `normal`.
    #[schema(required = false)]
    priority: Priority,
    /// Seconds until it is due.
    #[schema(required = false, minimum = 0, maximum = 2592000)]
    delay_s: f64,
    /// The identity of the job: a repeat with the same id and content is the same job.
    #[schema(required = false)]
    id: Uuid,
}

/// The queue has the job.
#[derive(ToSchema)]
pub struct JobReceipt {
    job_id: Uuid,
    seq: Sequence,
    /// Whether the job was there already. Absent if not.
    #[schema(required = false)]
    duplicate: bool,
}

/// One result for each job, in the order of the jobs.
#[derive(ToSchema)]
pub struct JobBatchResults {
    accepted: u64,
    rejected: u64,
    results: Vec<JobItemResult>,
}

one_of! {
    /// The result of one job.
    JobItemResult: AcceptedJob, RejectedItem
}

/// A job that the queue has.
#[derive(ToSchema)]
pub struct AcceptedJob {
    /// 201, or 200 if the job was there already.
    #[schema(minimum = 200, maximum = 299)]
    status: u16,
    seq: Sequence,
    job_id: Uuid,
    duplicate: bool,
}

/// Which jobs to lease.
#[derive(ToSchema)]
pub struct LeaseRequest {
    /// The most jobs. The default is 1.
    #[schema(required = false, minimum = 1, maximum = 1000)]
    max: u32,
    /// Seconds to wait for the first job. The default is 0.
    #[schema(required = false, minimum = 0, maximum = 60)]
    wait_s: f64,
    /// The name of the worker, which must be in the `as` of the key. Without it, the id of the key.
    #[schema(required = false)]
    worker: Name,
}

/// A job that belongs to one worker until its lease ends.
#[derive(ToSchema)]
pub struct LeasedJob {
    job_id: Uuid,
    r#type: Name,
    #[schema(value_type = Value)]
    payload: Value,
    priority: Priority,
    enqueued_at: Time,
    /// The trace that the job belongs to (W3C Trace Context), if its enqueuer sent one.
    #[schema(required = false)]
    traceparent: String,
    /// What tracing systems add to `traceparent`.
    #[schema(required = false)]
    tracestate: String,
    /// The number of this attempt; the first is 1.
    attempt: u32,
    /// Settles the lease.
    lease_token: String,
    lease_expires_at: Time,
}

/// The jobs that were leased.
#[derive(ToSchema)]
pub struct LeasedJobs {
    jobs: Vec<LeasedJob>,
}

/// How to settle a lease.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum LeaseAction {
    Ack,
    Nack,
    Extend,
    Fail,
}

/// Details of a settlement: `delay_s` for `nack`, `reason` for `nack` and `fail`.
#[derive(ToSchema)]
pub struct SettlementDetails {
    /// Seconds until the job is due again. Without it, the backoff of the queue.
    #[schema(required = false, minimum = 0, maximum = 2592000)]
    delay_s: f64,
    /// Why the attempt failed: kept with the attempt, cut at 2,048 bytes.
    #[schema(required = false)]
    reason: String,
}

/// A lease and how to settle it.
#[derive(ToSchema)]
pub struct Settlement {
    lease_token: String,
    action: LeaseAction,
    /// Only for `nack`: seconds until the job is due again. Without it, the backoff of the queue.
    #[schema(required = false, minimum = 0, maximum = 2592000)]
    delay_s: f64,
    /// Only for `nack` and `fail`: why the attempt failed.
    #[schema(required = false)]
    reason: String,
}

/// A settled lease. Only an extended lease has these members.
#[derive(ToSchema)]
pub struct SettledLease {
    /// Settles the extended lease.
    #[schema(required = false)]
    lease_token: String,
    #[schema(required = false)]
    lease_expires_at: Time,
}

/// One result for each lease, in the order of the settlements.
#[derive(ToSchema)]
pub struct SettlementResults {
    accepted: u64,
    rejected: u64,
    results: Vec<SettlementResult>,
}

one_of! {
    /// The result of one settlement.
    SettlementResult: SettledItem, RejectedItem
}

/// A lease that is settled.
#[derive(ToSchema)]
pub struct SettledItem {
    #[schema(minimum = 200, maximum = 299)]
    status: u16,
    #[schema(required = false)]
    lease_token: String,
    #[schema(required = false)]
    lease_expires_at: Time,
}
