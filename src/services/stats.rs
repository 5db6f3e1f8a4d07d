//! Counters of `GET /v1/stats`, and the metrics for Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::calls::Call;
use super::survey::Survey;
use super::{Error, gauges};
use crate::access::Principal;
use crate::broadcast::Broadcaster;
use crate::bus::Bus;
use crate::committed::Committed;
use crate::limits::STATS_NAMES;
use crate::message::Token;
use crate::processor::{Processor, WEBHOOK_PREFIX};
use crate::queues::Queues;
use crate::store::{self, Store};

/// Counts of the log, and the positions of the server's components in it.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    counts: Counts,
    log: Log,
    projector: Projector,
    streams_open: usize,
    filter_groups: usize,
    queue: Queue,
    pool: Pool,
}

#[derive(Clone, Debug, Serialize)]
struct Counts {
    by_kind: BTreeMap<String, u64>,
    by_type: BTreeMap<String, u64>,
    by_sender: BTreeMap<String, u64>,
    /// The number of message types, if not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<u64>,
    /// The number of senders, if not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    senders: Option<u64>,
}

/// The range of sequences that the bus or the store has.
#[derive(Clone, Debug, Serialize)]
struct Log {
    first: Option<u64>,
    last: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Projector {
    committed_through: u64,
    /// How many messages of the log are not yet in the store.
    lag: u64,
}

/// Messages for the processor and jobs of all queues: those settled, and those still open.
#[derive(Clone, Debug, Default, Serialize)]
struct Queue {
    total_enqueued: u64,
    total_dequeued: u64,
    current_size: u64,
}

/// Work done by the processor; the duration in seconds.
#[derive(Clone, Debug, Default, Serialize)]
struct Pool {
    processed_count: u64,
    error_count: u64,
    total_duration: f64,
}

/// Reads the counters and metrics.
pub struct Stats {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) store: Arc<dyn Store>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) committed: Arc<Committed>,
    pub(super) processor: Arc<Processor>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) metrics: PrometheusHandle,
    pub(super) survey: Arc<Survey>,
}

impl Stats {
    /// The counters of all messages, or of those of one task.
    ///
    /// # Errors
    /// The store or the bus is unavailable.
    pub async fn snapshot(
        &self,
        principal: &Principal,
        task: Option<&Token>,
    ) -> Result<Snapshot, Error> {
        Call::ReadStats.check(principal)?;
        let state = self.store.log_state().await?;
        let counts = self.store.counts(task, STATS_NAMES).await?;
        self.committed.raise(state.committed_through);
        let bounds = self.bus.identity().await.ok().map(|identity| identity.bounds);
        let last = bounds.map_or(0, |bounds| bounds.last).max(state.committed_through);
        let in_bus = bounds.filter(|bounds| bounds.first <= bounds.last).map(|bounds| bounds.first);
        // The figures of the processor cover all messages, even in the counters of one task.
        let all = match task {
            None => &counts,
            Some(_) => &self.store.counts(None, 0).await?,
        };
        let (queue, pool) = self.processing(all.by_kind.values().sum()).await?;
        Ok(Snapshot {
            counts: counts.into(),
            log: Log { first: state.first_seq.into_iter().chain(in_bus).min(), last },
            projector: Projector {
                committed_through: state.committed_through,
                lag: last - state.committed_through,
            },
            streams_open: self.broadcaster.open_streams(),
            filter_groups: self.broadcaster.filter_groups(),
            queue,
            pool,
        })
    }

    /// The open and the finished work of processors and work queues, without webhooks. Until the first
    /// handler is attached, every message counts as processed.
    async fn processing(&self, messages: u64) -> Result<(Queue, Pool), Error> {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        for status in self.processor.processors().await? {
            let totals = status.consumer.totals;
            let done = if status.consumer.handled { totals.processed } else { messages };
            pool.processed_count += done;
            pool.error_count += totals.failed;
            pool.total_duration += totals.busy_us as f64 / 1e6;
            queue.total_dequeued += done + totals.expired;
            queue.current_size += status.pending + status.in_flight;
        }
        for (_, source, dead) in self.store.dead_letter_counts().await? {
            if !source.starts_with(WEBHOOK_PREFIX) {
                queue.total_dequeued += dead;
            }
        }
        queue.total_dequeued += self.store.jobs_done().await?;
        queue.current_size += self.queues.held().await?;
        queue.total_enqueued = queue.total_dequeued + queue.current_size;
        Ok((queue, pool))
    }

    /// Reads for the metrics what a scrape must not, until cancelled.
    pub fn survey(&self, cancel: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.survey).run(cancel)
    }

    /// All metrics in Prometheus text format 0.0.4. Asks neither the bus nor the store.
    ///
    /// # Errors
    /// The caller lacks a grant.
    pub fn metrics(&self, principal: &Principal) -> Result<String, Error> {
        Call::ReadMetrics.check(principal)?;
        let head = self.broadcaster.head().unwrap_or(0);
        let through = self.committed.through();
        metrics::gauge!("agentbus_streams_open").set(self.broadcaster.open_streams() as f64);
        metrics::gauge!("agentbus_stream_bytes").set(self.broadcaster.stream_bytes() as f64);
        metrics::gauge!("agentbus_streams_replaying").set(self.broadcaster.replaying() as f64);
        metrics::gauge!("agentbus_filter_groups").set(self.broadcaster.filter_groups() as f64);
        metrics::gauge!("agentbus_committed_through").set(through as f64);
        metrics::gauge!("agentbus_projector_lag").set(head.saturating_sub(through) as f64);
        metrics::gauge!("agentbus_bus_up").set(f64::from(u8::from(self.bus.health().is_ok())));
        self.log_metrics(through);
        self.metrics.run_upkeep();
        let mut text = self.metrics.render();
        gauges::write_info(&mut text, self.bus.name(), self.store.name());
        gauges::write_pools(&mut text, &self.store.pools());
        self.processor.write_metrics(&mut text);
        self.survey.write(&mut text);
        Ok(text)
    }
}

impl Stats {
    /// Sets the metrics of the log as the bus keeps it.
    fn log_metrics(&self, through: u64) {
        let share = self.bus.uncommitted_share(through);
        metrics::gauge!("agentbus_log_uncommitted_ratio").set(share);
        let Some(usage) = self.bus.usage(through) else {
            // Committed before it is acknowledged.
            metrics::gauge!("agentbus_projector_lag_seconds").set(0.0);
            return;
        };
        metrics::gauge!("agentbus_projector_lag_seconds").set(usage.uncommitted_age.as_secs_f64());
        metrics::gauge!("agentbus_log_messages").set(usage.messages as f64);
        metrics::gauge!("agentbus_log_bytes").set(usage.bytes as f64);
        metrics::gauge!("agentbus_nats_requests_in_flight").set(usage.requests as f64);
    }
}

impl From<store::Counts> for Counts {
    fn from(counts: store::Counts) -> Self {
        let store::Counts { by_kind, by_type, by_sender, types, senders } = counts;
        let more = |all: u64, shown: &BTreeMap<_, _>| (all > shown.len() as u64).then_some(all);
        let (types, senders) = (more(types, &by_type), more(senders, &by_sender));
        Self { by_kind, by_type, by_sender, types, senders }
    }
}
