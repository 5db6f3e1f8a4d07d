//! Counters, status and readiness (contract, section 3).

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::base::Sequence;

/// Counts of the log, and the positions of the server's components in it.
#[derive(ToSchema)]
pub struct Stats {
    counts: Counts,
    log: LogRange,
    projector: ProjectorState,
    streams_open: u64,
    /// How many different filters the streams have.
    filter_groups: u64,
    queue: QueueTotals,
    pool: PoolTotals,
}

/// How many messages there are. The most frequent types and senders are listed.
#[derive(ToSchema)]
pub struct Counts {
    by_kind: BTreeMap<String, u64>,
    by_type: BTreeMap<String, u64>,
    by_sender: BTreeMap<String, u64>,
    /// How many types there are, if not all are listed.
    #[schema(required = false)]
    types: u64,
    /// How many senders there are, if not all are listed.
    #[schema(required = false)]
    senders: u64,
}

/// The sequences that the bus or the store has.
#[derive(ToSchema)]
pub struct LogRange {
    #[schema(required = true)]
    first: Option<Sequence>,
    last: Sequence,
}

/// What the store has.
#[derive(ToSchema)]
pub struct ProjectorState {
    committed_through: Sequence,
    /// How many messages of the log are not in the store yet.
    lag: u64,
}

/// Messages for the processor and jobs of all queues.
#[derive(ToSchema)]
pub struct QueueTotals {
    total_enqueued: u64,
    total_dequeued: u64,
    current_size: u64,
}

/// Work done by the processor.
#[derive(ToSchema)]
pub struct PoolTotals {
    processed_count: u64,
    error_count: u64,
    /// Seconds.
    total_duration: f64,
}

/// The state of one part of the server.
#[derive(Serialize, ToSchema)]
pub struct Part {
    ok: bool,
    /// What is wrong. Absent if nothing is.
    #[schema(required = false)]
    detail: String,
}

/// The parts of the server.
#[derive(Serialize, ToSchema)]
pub struct Parts {
    bus: Part,
    continuity: Part,
    membership: Part,
    store: Part,
    stream: Part,
}

/// Whether the server can publish.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    /// Whether a part has failed that publishing does not need.
    degraded: bool,
    /// Whether it is stopping.
    draining: bool,
    parts: Parts,
}

/// Version, parts and readiness of this server.
#[derive(Serialize, ToSchema)]
pub struct Status {
    name: String,
    version: String,
    bus: String,
    store: String,
    /// Seconds since its start.
    uptime_s: u64,
    #[serde(flatten)]
    readiness: Readiness,
}
