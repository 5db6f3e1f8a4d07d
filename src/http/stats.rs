//! Counters: `GET /v1/stats` for people, `GET /metrics` for Prometheus.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::messages::axum_json;
use super::problem::Problem;
use super::{Shared, params};
use crate::limits::STATS_NAMES;
use crate::processor::WEBHOOK_PREFIX;

#[derive(Serialize)]
struct Stats {
    counts: Counts,
    log: Log,
    projector: Projector,
    streams_open: usize,
    filter_groups: usize,
    queue: Queue,
    pool: Pool,
}

#[derive(Serialize)]
struct Counts {
    by_kind: BTreeMap<String, u64>,
    by_type: BTreeMap<String, u64>,
    by_sender: BTreeMap<String, u64>,
    /// How many there are in all, where only those with the most messages are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    senders: Option<u64>,
}

/// Sequences that are kept, in the bus or the store.
#[derive(Serialize)]
struct Log {
    first: Option<u64>,
    last: u64,
}

#[derive(Serialize)]
struct Projector {
    committed_through: u64,
    /// Messages in the log and not yet in the store.
    lag: u64,
}

/// Work for somebody: messages for the processor and jobs of all queues, done with and not.
#[derive(Default, Serialize)]
struct Queue {
    total_enqueued: u64,
    total_dequeued: u64,
    current_size: u64,
}

/// Work of the processor; the duration in seconds.
#[derive(Default, Serialize)]
struct Pool {
    processed_count: u64,
    error_count: u64,
    total_duration: f64,
}

/// Counts kept by the projector, and how far each part is.
pub(super) async fn stats(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let task = params::stats(query.as_deref())?;
    let state = api.store.log_state().await?;
    let counts = api.store.counts(task.as_ref(), STATS_NAMES).await?;
    api.committed.raise(state.committed_through);
    let bounds = api.bus.identity().await.ok().map(|identity| identity.bounds);
    let last = bounds.map_or(0, |bounds| bounds.last).max(state.committed_through);
    let in_bus = bounds.filter(|bounds| bounds.first <= bounds.last).map(|bounds| bounds.first);
    // Of all messages, also where one task's were asked for.
    let all = match &task {
        None => &counts,
        Some(_) => &api.store.counts(None, 0).await?,
    };
    let messages = all.by_kind.values().sum();
    let (queue, pool) = processing(&api, messages).await?;
    let more = |all: u64, told: &BTreeMap<String, u64>| (all > told.len() as u64).then_some(all);
    let types = more(counts.types, &counts.by_type);
    let senders = more(counts.senders, &counts.by_sender);
    Ok(axum_json(&Stats {
        counts: Counts {
            by_kind: counts.by_kind,
            by_type: counts.by_type,
            by_sender: counts.by_sender,
            types,
            senders,
        },
        log: Log { first: state.first_seq.into_iter().chain(in_bus).min(), last },
        projector: Projector {
            committed_through: state.committed_through,
            lag: last - state.committed_through,
        },
        streams_open: api.broadcaster.open_streams(),
        filter_groups: api.broadcaster.filter_groups(),
        queue,
        pool,
    }))
}

/// What processor and workers have before them, and what they have done. Webhooks count for
/// themselves. While no handler was ever attached, every message counts as done.
async fn processing(api: &Shared, messages: u64) -> Result<(Queue, Pool), Problem> {
    let (mut queue, mut pool) = (Queue::default(), Pool::default());
    for status in api.processor.processors().await? {
        let totals = status.consumer.totals;
        let done = if status.consumer.handled { totals.processed } else { messages };
        pool.processed_count += done;
        pool.error_count += totals.failed;
        pool.total_duration += totals.busy_us as f64 / 1e6;
        queue.total_dequeued += done + totals.expired;
        queue.current_size += status.pending + status.in_flight;
    }
    for (_, source, dead) in api.store.dead_letter_counts().await? {
        if !source.starts_with(WEBHOOK_PREFIX) {
            queue.total_dequeued += dead;
        }
    }
    queue.total_dequeued += api.store.jobs_done().await?;
    queue.current_size += api.queues.held().await?;
    queue.total_enqueued = queue.total_dequeued + queue.current_size;
    Ok((queue, pool))
}

/// Prometheus text format 0.0.4.
pub(super) async fn metrics(State(api): State<Shared>) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let head = api.broadcaster.head().unwrap_or(0);
    let through = api.committed.through();
    metrics::gauge!("agentbus_streams_open").set(api.broadcaster.open_streams() as f64);
    metrics::gauge!("agentbus_stream_bytes").set(api.broadcaster.stream_bytes() as f64);
    metrics::gauge!("agentbus_filter_groups").set(api.broadcaster.filter_groups() as f64);
    metrics::gauge!("agentbus_committed_through").set(through as f64);
    metrics::gauge!("agentbus_projector_lag").set(head.saturating_sub(through) as f64);
    metrics::gauge!("agentbus_bus_up").set(f64::from(u8::from(api.bus.health().is_ok())));
    let consumers = api.processor.render_metrics().await;
    api.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, TEXT)], api.metrics.render() + &consumers).into_response()
}
