//! Composition root: build from the configuration, run, drain.
//!
//! Invariant: components stop in the order in which work flows: first nothing new is
//! accepted, then requests and streams end, then the writer and the projector,
//! last the store. The listener is up before bus and store are, and says so.

mod components;
mod processing;

use std::sync::Arc;
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::continuity::Gate;
use crate::dead_letters::DeadLetters;
use crate::http::{self, Api, Listener, announce};
use crate::inbox::Inboxes;
use crate::ingest::Ingest;
use crate::limits::{CORE_STOP, METRICS_UPKEEP, SETTLE_STOP, START_RETRY};
use crate::membership::{MembershipMonitor, MembershipStatus};
use crate::presence::Presence;
use crate::processor::Processor;
use crate::processor::handler::Handler;
use crate::shutdown::Tasks;
use crate::webhooks::{Registry, WebhookClient};
use components::{Components, build};
pub use processing::work;
use processing::{process, webhooks};

/// What `serve` is asked for besides the configuration.
#[derive(Clone, Default)]
pub struct Options {
    /// Leave NATS although what the stream still holds cannot be read.
    pub abandon_tail: bool,
    /// What processes messages in this process, besides the command of the configuration.
    pub handlers: Vec<Arc<dyn Handler>>,
}

/// Why a server did not start, for the page served meanwhile.
type Reason = Arc<Mutex<String>>;

/// Serves until `stop` is cancelled, then drains.
///
/// # Errors
/// Why it could not start, or which part failed.
pub async fn run(
    config: Config,
    options: Options,
    metrics: PrometheusHandle,
    stop: CancellationToken,
    listening: impl FnOnce(std::net::SocketAddr),
) -> Result<(), String> {
    let courier = WebhookClient::new(config.webhooks.guard)?;
    let reason: Reason = Arc::new(Mutex::new("the server is starting".to_owned()));
    let told = Arc::clone(&reason);
    let starting = http::starting(&config.http, Arc::new(move || told.lock().clone()));
    let listener = Listener::bind(&config.http, starting)
        .await
        .map_err(|error| format!("HTTP_ADDR={}: {error}", config.http.addr))?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    let stage = listener.stage();
    let tasks = Tasks::new(stop.clone());
    let (draining, core) = (CancellationToken::new(), CancellationToken::new());
    let serving = tokio::spawn(listener.run(draining.clone()));
    announce(addr);
    listening(addr);
    let Options { abandon_tail, handlers } = options;
    let building = async {
        let components = build(&config, abandon_tail, &reason, &tasks, &core).await?;
        let processor =
            process(&config, handlers, &components, &reason, &tasks, &draining, &core).await;
        Ok((components, processor))
    };
    let built = stop.run_until_cancelled(building).await;
    let mut running = None;
    match built {
        Some(Ok((components, processor))) => {
            running = Some((Arc::clone(&components.store), Arc::clone(&processor)));
            let webhooks = webhooks(&config, courier, &components, &processor, &tasks, &draining);
            let work = (processor, webhooks);
            let api =
                Arc::new(assemble(&config, components, work, metrics, &tasks, &draining, &core));
            tracing::info!(%addr, bus = api.bus.name(), store = api.store.name(), "serving");
            stage.open(http::app(api, &config.http));
            stop.cancelled().await;
        }
        Some(Err(error)) => {
            draining.cancel();
            core.cancel();
            return Err(error);
        }
        None => {}
    }
    tracing::info!(drain = ?config.drain, "draining");
    draining.cancel();
    let begun = Instant::now();
    if tokio::time::timeout(config.drain, serving).await.is_err() {
        tracing::warn!("some connections did not end within the drain window");
    }
    if let Some((_, processor)) = &running {
        let patience = (config.drain + SETTLE_STOP).saturating_sub(begun.elapsed());
        // What did not end is cut off with the core, and handed out again.
        let _ = tokio::time::timeout(patience, processor.ended()).await;
    }
    core.cancel();
    let ended = tokio::time::timeout(CORE_STOP, tasks.ended()).await;
    if let Some((store, _)) = running {
        store.close().await;
    }
    ended.unwrap_or_else(|_| Err("some components did not stop in time".to_owned()))
}

/// Repeats `attempt` until it succeeds, saying once for each reason why not.
async fn until<T, E: std::fmt::Display>(
    what: &str,
    reason: &Reason,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    loop {
        let error = match attempt().await {
            Ok(value) => return value,
            Err(error) => format!("waiting for {what}: {error}"),
        };
        let news = {
            let mut told = reason.lock();
            let news = *told != error;
            told.clone_from(&error);
            news
        };
        if news {
            tracing::warn!("{error}");
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

fn assemble(
    config: &Config,
    components: Components,
    (processor, webhooks): (Arc<Processor>, Registry),
    metrics: PrometheusHandle,
    tasks: &Tasks,
    draining: &CancellationToken,
    core: &CancellationToken,
) -> Api {
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
    } = components;
    let follow = Arc::clone(&broadcaster).run(core.clone());
    spawn_plain(tasks, "broadcaster", core, after_first_check(gate.clone(), core.clone(), follow));
    let standing = Arc::new(MembershipStatus::default());
    let alone = lease.map(|lease| (Arc::clone(&store), lease));
    let keeper = MembershipMonitor { membership, alone, standing: Arc::clone(&standing) };
    tasks.spawn("membership", core.clone(), keeper.run(core.clone()));
    spawn_plain(tasks, "metrics", core, keep_up(metrics.clone(), core.clone()));
    let ingest = Arc::new(Ingest::new(
        Arc::clone(&bus),
        Arc::clone(&store),
        Arc::clone(&committed),
        gate,
        Clock::system(),
    ));
    let presence = Presence {
        ingest: Arc::clone(&ingest),
        store: Arc::clone(&store),
        committed: Arc::clone(&committed),
        clock: Clock::system(),
        ids: lapse_ids,
    };
    let presence = presence.run(core.clone());
    spawn_plain(
        tasks,
        "presence",
        core,
        after_first_check(ingest.gate.clone(), core.clone(), presence),
    );
    let inboxes = Inboxes::new(
        Arc::clone(&store),
        Arc::clone(&broadcaster),
        Arc::clone(&committed),
        Clock::system(),
    );
    Api {
        inboxes,
        ingest,
        broadcaster,
        bus,
        dead_letters: DeadLetters::new(Arc::clone(&store), Some(Arc::clone(&queues))),
        store,
        processor,
        webhooks,
        queues,
        committed,
        standing,
        metrics,
        draining: draining.clone(),
        drain: config.drain,
        started: Instant::now(),
    }
}

/// Runs a reader of the log once the log is known to continue the store.
async fn after_first_check(
    gate: Gate,
    cancel: CancellationToken,
    reader: impl Future<Output = ()>,
) {
    if cancel.run_until_cancelled(gate.opened()).await.is_some() {
        reader.await;
    }
}

/// Counts latencies that were sampled, which else would wait in memory until somebody reads the
/// metrics, if anybody ever does.
async fn keep_up(metrics: PrometheusHandle, cancel: CancellationToken) {
    while cancel.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

fn spawn_plain(
    tasks: &Tasks,
    name: &'static str,
    told: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(name, told.clone(), async move {
        task.await;
        Ok::<(), String>(())
    });
}
