//! Composition root: builds a server from its configuration, runs it and drains it.
//!
//! Invariant: components stop in the order in which work flows. First nothing new is accepted; then requests,
//! streams and handlers end within the drain time; then the writer and the projector; last the store. The
//! listener opens before bus and store are ready, and answers 503 with the reason until then (`/livez` works).

mod components;
mod processing;
mod startup;

use std::sync::Arc;
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::Issuers;
use crate::config::{Config, HttpConfig};
use crate::http::{self, AppSlot, Listener, announce};
use crate::ingest::Ingest;
use crate::limits::{METRICS_UPKEEP, SETTLE_STOP};
use crate::presence::Presence;
use crate::processor::Processor;
use crate::processor::handler::Handler;
use crate::services::audit::Audit;
use crate::services::{self, Drain, Services};
use crate::shutdown::Phase;
use crate::store::Store;
use crate::tls::TlsServer;
use crate::webhooks::{Registry, WebhookClient};
use components::{Components, build};
pub use processing::work;
use processing::{process, webhooks};
use startup::Startup;

/// Options of `serve` that are not in the configuration.
#[derive(Clone, Default)]
pub struct Options {
    /// Whether to switch away from NATS even if the rest of its stream cannot be read.
    pub abandon_tail: bool,
    /// Handlers that run in this process, in addition to the configured command.
    pub handlers: Vec<Arc<dyn Handler>>,
}

/// Serves until `stop` is cancelled, then drains.
///
/// # Errors
/// The reason why the server could not start, or the part that failed.
pub async fn run(
    config: Config,
    options: Options,
    metrics: PrometheusHandle,
    stop: CancellationToken,
    listening: impl FnOnce(std::net::SocketAddr),
) -> Result<(), String> {
    let startup = Startup::new(config, stop);
    let Startup { config, lifecycle, .. } = &startup;
    let client = WebhookClient::new(config.webhooks.guard)?;
    let issuers = config.access.jwt_issuers_file.as_deref();
    let issuers = Arc::new(issuers.map(Issuers::load).transpose()?.unwrap_or_default());
    let reason = Arc::clone(&startup.reason);
    let starting = http::starting(&config.http, Arc::new(move || reason.lock().clone()));
    let tls = config.http.tls.as_ref();
    let tls = tls.map(|files| TlsServer::load(files, startup.clock.clone())).transpose()?;
    let (tls, is_tls) = (tls.map(Arc::new), config.http.tls.is_some());
    let listener = Listener::bind(&config.http, tls.clone(), starting)
        .await
        .map_err(|error| format!("HTTP_ADDR={}: {error}", config.http.addr))?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    let app_slot = listener.app_slot();
    let serving = tokio::spawn(listener.run(lifecycle.draining().clone()));
    if let Some(tls) = tls {
        startup.spawn_core("certificate", tls.watch(startup.core()));
    }
    startup.spawn_core("keys of issuers", Arc::clone(&issuers).keep(startup.core()));
    let monitoring = monitor(&startup).await?;
    announce(addr, is_tls);
    listening(addr);
    let building = async {
        let components = build(&startup, issuers, options.abandon_tail).await?;
        let processor = process(&startup, options.handlers, &components).await;
        Ok((components, processor))
    };
    let mut running = None;
    match lifecycle.draining().run_until_cancelled(building).await {
        Some(Ok((components, processor))) => {
            running = Some((Arc::clone(&components.store), Arc::clone(&processor)));
            let webhooks = webhooks(&startup, client, &components, &processor);
            let (bus, store) = (components.bus.name(), components.store.name());
            let services = assemble(&startup, components, processor, webhooks, metrics);
            startup.spawn_core("survey", services.stats.survey(startup.core()));
            if let Some(slot) = &monitoring {
                slot.set(http::monitoring(services.clone(), &config.http));
            }
            tracing::info!(%addr, tls = is_tls, bus, store, "serving");
            app_slot.set(http::app(services, &config.http));
            lifecycle.draining().cancelled().await;
        }
        Some(Err(error)) => {
            lifecycle.enter(Phase::Aborting);
            return Err(error);
        }
        None => {}
    }
    drain(&startup, serving, running).await
}

/// Serves metrics and health at `METRICS_ADDR`, if it is set.
async fn monitor(startup: &Startup) -> Result<Option<AppSlot>, String> {
    let config = &startup.config;
    let Some(addr) = config.access.metrics_addr else { return Ok(None) };
    let own = HttpConfig { addr, ..config.http.clone() };
    let reason = Arc::clone(&startup.reason);
    let starting = http::starting(&own, Arc::new(move || reason.lock().clone()));
    let listener = Listener::bind(&own, None, starting).await;
    let listener = listener.map_err(|error| format!("METRICS_ADDR={addr}: {error}"))?;
    let slot = listener.app_slot();
    // Until the end of the drain, which operators want to watch.
    startup.spawn_core("monitoring", listener.run(startup.core()));
    Ok(Some(slot))
}

/// Waits until requests and handlers have ended or the drain time is over, then ends the core tasks.
async fn drain(
    startup: &Startup,
    serving: JoinHandle<()>,
    running: Option<(Arc<dyn Store>, Arc<Processor>)>,
) -> Result<(), String> {
    let drain = startup.config.drain;
    tracing::info!(?drain, "draining");
    let begun = Instant::now();
    if tokio::time::timeout(drain, serving).await.is_err() {
        tracing::warn!("some connections did not end within the drain time (DRAIN_S)");
    }
    if let Some((_, processor)) = &running {
        let left = (drain + SETTLE_STOP).saturating_sub(begun.elapsed());
        // Handlers that have not ended by then are cut off with the core tasks, and their messages
        // are redelivered.
        let _ = tokio::time::timeout(left, processor.ended()).await;
    }
    let ended = startup.end_core().await;
    if let Some((store, _)) = running {
        store.close().await;
    }
    ended
}

fn assemble(
    startup: &Startup,
    components: Components,
    processor: Arc<Processor>,
    webhooks: Registry,
    metrics: PrometheusHandle,
) -> Services {
    let Components {
        bus,
        broadcaster,
        store,
        committed,
        gate,
        membership,
        lease,
        queues,
        lapse_ids,
        renewal,
        schemas,
        eraser,
        secret,
        erased: _,
    } = components;
    let (audit, writer) = Audit::new(Arc::clone(&store), startup.clock.clone());
    startup.spawn_core("audit", writer.run(startup.core()));
    let (core, clock) = (startup.core(), &startup.clock);
    let follow = Arc::clone(&broadcaster).run(core.clone());
    startup.spawn_reader("broadcaster", &gate, follow);
    let exclusive = lease.map(|lease| (Arc::clone(&store), lease));
    let membership = startup.monitor_membership(membership, exclusive);
    startup.spawn_core("metrics", upkeep(metrics.clone(), core.clone()));
    let ingest = Arc::new(Ingest::new(
        Arc::clone(&bus),
        Arc::clone(&store),
        Arc::clone(&committed),
        gate,
        clock.clone(),
    ));
    let presence = Presence {
        ingest: Arc::clone(&ingest),
        store: Arc::clone(&store),
        committed: Arc::clone(&committed),
        clock: clock.clone(),
        ids: lapse_ids,
    };
    startup.spawn_reader("presence", &ingest.gate, presence.run(core));
    Services::new(services::Components {
        ingest,
        broadcaster,
        bus,
        store,
        processor,
        webhooks,
        queues,
        committed,
        membership,
        metrics,
        clock: clock.clone(),
        drain: Drain { begun: startup.lifecycle.draining().clone(), window: startup.config.drain },
        renewal,
        schemas,
        eraser,
        audit,
        auth_required: startup.config.access.required,
        secret,
    })
}

/// Aggregates latency samples regularly. They would otherwise take memory until the metrics are read.
async fn upkeep(metrics: PrometheusHandle, cancel: CancellationToken) {
    while cancel.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}
