//! Composition root: build from the configuration, run, drain.
//!
//! Invariant: parts stop in the order in which work flows: first nothing new is
//! accepted, then requests and streams end, then the writer and the projector,
//! last the store. The listener is up before bus and store are, and says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broadcast::Broadcaster;
use crate::bus::Bus;
use crate::bus::memory::{JournalError, MemoryBus};
use crate::bus::nats::jobs::NatsJobs;
use crate::bus::nats::{IfMissing, NatsBus};
use crate::clock::Clock;
use crate::committed::Committed;
use crate::config::{Config, ProcessorConfig, StoreConfig};
use crate::continuity::{Continuity, Gate};
use crate::dead_letters::DeadLetters;
use crate::http::{self, Api, Listener, announce};
use crate::inbox::Inboxes;
use crate::ingest::{Ingest, KnownIds};
use crate::limits::{CORE_STOP, MEMBERSHIP_CHECK, SETTLE_STOP, START_RETRY};
use crate::message::SubjectPattern;
use crate::presence::Presence;
use crate::processor::handler::Handler;
use crate::processor::{ConsumerSpec, Exec, Policy, Processor, Start};
use crate::projector::{Projector, StoreJournal};
use crate::queues::{CountedQueues, NatsQueues, QueueSink, Queues, Sealer, StoreQueues};
use crate::shutdown::Tasks;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::work::WorkStore;
use crate::store::{BusKind, Lease, Membership, Store, StoreError};
use crate::switch;
use crate::webhooks::{Courier, Means, Registry, Supervisor};

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

/// The parts of a running server.
struct Parts {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    committed: Arc<Committed>,
    gate: Gate,
    membership: Box<dyn Membership>,
    queues: Arc<dyn Queues>,
}

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
    let courier = Courier::new(config.webhooks.guard)?;
    let reason: Reason = Arc::new(Mutex::new("the server is starting".to_owned()));
    let told = Arc::clone(&reason);
    let starting = http::starting_router(
        &config.http,
        Arc::new(move || told.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    );
    let (asked, max) = (config.http.addr, config.http.max_connections);
    let listener = Listener::bind(asked, max, starting)
        .await
        .map_err(|error| format!("HTTP_ADDR={asked}: {error}"))?;
    let addr = listener.local_addr().map_err(|error| error.to_string())?;
    let stage = listener.stage();
    let tasks = Tasks::new(stop.clone());
    let (draining, core) = (CancellationToken::new(), CancellationToken::new());
    let serving = tokio::spawn(listener.run(draining.clone()));
    announce(addr);
    listening(addr);
    let Options { abandon_tail, handlers } = options;
    let built =
        stop.run_until_cancelled(build(&config, abandon_tail, &reason, &tasks, &core)).await;
    let mut running = None;
    match built {
        Some(Ok(parts)) => {
            let processor = process(&config, handlers, &parts, &tasks, &draining, &core);
            running = Some((Arc::clone(&parts.store), Arc::clone(&processor)));
            let webhooks = webhooks(&config, courier, &parts, &processor, &tasks, &draining);
            let work = (processor, webhooks);
            let api = Arc::new(assemble(&config, parts, work, metrics, &tasks, &draining, &core));
            tracing::info!(%addr, bus = api.bus.name(), store = api.store.name(), "serving");
            stage.open(http::router(api, &config.http));
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
    ended.unwrap_or_else(|_| Err("some parts did not stop in time".to_owned()))
}

/// Processes messages of a log on NATS until `stop`, beside its servers: neither
/// listens nor projects.
///
/// # Errors
/// What is missing, why it could not start, or which part failed.
pub async fn work(
    config: Config,
    handlers: Vec<Arc<dyn Handler>>,
    stop: CancellationToken,
) -> Result<(), String> {
    if config.bus != BusKind::Nats {
        return Err("a worker shares the work of servers on NATS: set MESSAGE_BUS=nats, NATS_URL \
                    and DATABASE_URL as they have them. On the memory bus, serve --exec processes \
                    by itself"
            .to_owned());
    }
    let spec = consumer(&config.processor, handlers);
    if spec.handlers.is_empty() {
        return Err("there is nothing to process messages with: give a command, as in \
                    agentbus worker --exec COMMAND (PROCESSOR_EXEC)"
            .to_owned());
    }
    let Some(parts) = stop.run_until_cancelled(join_servers(&config)).await else { return Ok(()) };
    let (bus, store, membership) = parts?;
    let (tasks, core) = (Tasks::new(stop.clone()), CancellationToken::new());
    let processor = Arc::new(Processor::new(bus, Arc::clone(&store), config.drain));
    let (directory, cancel) = (Arc::clone(&processor), core.clone());
    spawn_plain(&tasks, "consumers", &core, async move { directory.run(cancel).await });
    spawn_plain(&tasks, "membership", &core, hold(membership, core.clone()));
    tracing::info!(consumer = spec.name, concurrency = spec.concurrency, "working");
    processor.consume(spec, stop).await;
    core.cancel();
    let ended = tokio::time::timeout(CORE_STOP, tasks.ended()).await;
    store.close().await;
    ended.unwrap_or_else(|_| Err("some parts did not stop in time".to_owned()))
}

type Joined = (Arc<dyn Bus>, Arc<dyn Store>, Box<dyn Membership>);

/// Store and stream, once servers have put the log on NATS.
async fn join_servers(config: &Config) -> Result<Joined, String> {
    let reason: Reason = Arc::default();
    let store = open_store(&config.store, &reason).await?;
    let membership = until("the store", &reason, async || store.join(BusKind::Nats).await).await?;
    let connect = async || NatsBus::connect_or(config.nats.clone(), IfMissing::Refuse).await;
    let bus = until("NATS", &reason, connect).await;
    until("a server", &reason, async || match store.log_state().await {
        Ok(state) if state.bus == Some(BusKind::Nats) => Ok(()),
        Ok(_) => Err("none has put the log on NATS yet".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    Ok((Arc::new(bus), store, membership))
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
            let mut told = reason.lock().unwrap_or_else(PoisonError::into_inner);
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

async fn build(
    config: &Config,
    abandon_tail: bool,
    reason: &Reason,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Result<Parts, String> {
    let store = open_store(&config.store, reason).await?;
    let membership = until("the store", reason, async || store.join(config.bus).await).await?;
    let owner = Uuid::new_v4();
    let committed = Arc::new(Committed::default());
    match config.bus {
        BusKind::Memory => {
            let lease = switch::to_memory(&store, &config.nats, owner, abandon_tail).await?;
            let (bus, gate) = memory_bus(&store, lease, &committed, tasks, core).await?;
            let queues = store_queues(&store, reason, tasks, core).await?;
            Ok(Parts { bus, store, committed, gate, membership, queues })
        }
        BusKind::Nats => {
            let (bus, gate) =
                nats_bus(config, &store, &committed, owner, reason, tasks, core).await;
            let queues = nats_queues(config, &store, reason, tasks, core).await?;
            Ok(Parts { bus, store, committed, gate, membership, queues })
        }
    }
}

/// Opens the store, waiting for a database that is not there yet.
async fn open_store(config: &StoreConfig, reason: &Reason) -> Result<Arc<dyn Store>, String> {
    match config {
        StoreConfig::Sqlite(dir) => SqliteStore::open(dir)
            .await
            .map(|store| Arc::new(store) as Arc<dyn Store>)
            .map_err(|error| format!("DATA_DIR={}: {error}", dir.display())),
        StoreConfig::Postgres(url) => {
            let connect = async || match PostgresStore::connect(url).await {
                Err(error @ StoreError::Unavailable(_)) => Err(error),
                settled => Ok(settled),
            };
            let store = until("PostgreSQL", reason, connect).await;
            store
                .map(|store| Arc::new(store) as Arc<dyn Store>)
                .map_err(|error| format!("DATABASE_URL: {error}"))
        }
    }
}

async fn memory_bus(
    store: &Arc<dyn Store>,
    lease: Lease,
    committed: &Arc<Committed>,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Result<(Arc<dyn Bus>, Gate), String> {
    let journal = Arc::new(StoreJournal::new(
        Arc::clone(store),
        lease,
        Arc::clone(committed),
        MemoryBus::LOG_NAME,
    ));
    let opened = MemoryBus::open(journal, Clock::system()).await;
    let (bus, writer) = opened.map_err(|error: JournalError| error.to_string())?;
    tasks.spawn("memory bus", core.clone(), writer.run(core.clone()));
    Ok((Arc::new(bus), Gate::open()))
}

async fn nats_bus(
    config: &Config,
    store: &Arc<dyn Store>,
    committed: &Arc<Committed>,
    owner: Uuid,
    reason: &Reason,
    tasks: &Tasks,
    core: &CancellationToken,
) -> (Arc<dyn Bus>, Gate) {
    // A stream that must be made is filled from the store before anybody may publish.
    let state = until("the store", reason, async || store.log_state().await).await;
    let missing =
        if state.committed_through > 0 { IfMissing::CreateShut } else { IfMissing::Create };
    let connect = async || NatsBus::connect_or(config.nats.clone(), missing).await;
    let nats = Arc::new(until("NATS", reason, connect).await);
    let gate = Gate::closed("the log's continuity is being checked");
    let continuity = Continuity {
        bus: Arc::clone(&nats),
        store: Arc::clone(store),
        committed: Arc::clone(committed),
        gate: gate.clone(),
        owner,
    };
    spawn_plain(tasks, "continuity", core, continuity.run(core.clone()));
    let bus: Arc<dyn Bus> = nats;
    let projector = Projector {
        bus: Arc::clone(&bus),
        store: Arc::clone(store),
        committed: Arc::clone(committed),
        owner,
    };
    // Readers begin where the first check leaves the stream.
    spawn_plain(
        tasks,
        "projector",
        core,
        after_first_check(gate.clone(), core.clone(), projector.run(core.clone())),
    );
    (bus, gate)
}

/// The consumer of the configuration.
fn consumer(config: &ProcessorConfig, mut handlers: Vec<Arc<dyn Handler>>) -> ConsumerSpec {
    let filter = SubjectPattern::all();
    if let Some(command) = &config.exec {
        let exec = Exec::new(command.clone(), filter.clone(), config.exec_timeout);
        handlers.push(Arc::new(exec));
    }
    ConsumerSpec {
        name: config.consumer.clone(),
        filter,
        policy: Policy::default(),
        start: Start::Kept,
        handlers,
        concurrency: config.concurrency,
    }
}

/// Runs the processor; without a handler its consumer is made and left alone.
fn process(
    config: &Config,
    handlers: Vec<Arc<dyn Handler>>,
    parts: &Parts,
    tasks: &Tasks,
    draining: &CancellationToken,
    core: &CancellationToken,
) -> Arc<Processor> {
    let (bus, store) = (Arc::clone(&parts.bus), Arc::clone(&parts.store));
    let processor = Arc::new(Processor::new(bus, store, config.drain));
    let (directory, consumers) = (Arc::clone(&processor), Arc::clone(&processor));
    let cancel = core.clone();
    spawn_plain(tasks, "consumers", core, async move { directory.run(cancel).await });
    let (gate, stop) = (parts.gate.clone(), draining.clone());
    let spec = consumer(&config.processor, handlers);
    if !spec.handlers.is_empty() {
        processor.expect(&spec.name);
    }
    let work = async move {
        if spec.handlers.is_empty() {
            consumers.announce(spec, stop).await;
        } else {
            consumers.consume(spec, stop).await;
        }
    };
    spawn_plain(tasks, "processor", draining, after_first_check(gate, draining.clone(), work));
    processor
}

/// Delivers to webhooks, made through whichever server.
fn webhooks(
    config: &Config,
    courier: Courier,
    parts: &Parts,
    processor: &Arc<Processor>,
    tasks: &Tasks,
    draining: &CancellationToken,
) -> Registry {
    let Parts { bus, store, committed, gate, .. } = parts;
    let kept: Arc<dyn WorkStore> = Arc::clone(store) as _;
    let registry = Registry::new(
        Arc::clone(&kept),
        Arc::clone(bus),
        Arc::clone(processor),
        Arc::clone(committed),
        config.webhooks.guard,
    );
    let supervisor = Supervisor {
        means: Means {
            courier,
            policy: config.webhooks.backoff.policy(),
            store: kept,
            processor: Arc::clone(processor),
            clock: Clock::system(),
        },
        bus: Arc::clone(bus),
        changed: registry.changed(),
    };
    let (gate, stop) = (gate.clone(), draining.clone());
    let work = supervisor.run(stop.clone());
    spawn_plain(tasks, "webhooks", draining, after_first_check(gate, stop, work));
    registry
}

/// What lease tokens are sealed with: one secret for all servers of the store.
async fn sealer(store: &Arc<dyn Store>, reason: &Reason) -> Result<Sealer, String> {
    let fresh = Sealer::fresh_secret().ok_or("the system has no randomness")?;
    Ok(Sealer::new(until("the store", reason, async || store.lease_secret(fresh).await).await))
}

async fn store_queues(
    store: &Arc<dyn Store>,
    reason: &Reason,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Result<Arc<dyn Queues>, String> {
    let sealer = sealer(store, reason).await?;
    let queues = Arc::new(StoreQueues::new(Arc::clone(store), sealer, Clock::system()));
    spawn_plain(tasks, "queues", core, Arc::clone(&queues).sweep(core.clone()));
    Ok(counted(queues, store, tasks, core))
}

/// Counts what is done for `/v1/stats`.
fn counted(
    queues: Arc<dyn Queues>,
    store: &Arc<dyn Store>,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Arc<dyn Queues> {
    let counted = Arc::new(CountedQueues::new(queues, Arc::clone(store)));
    spawn_plain(tasks, "count of jobs", core, Arc::clone(&counted).keep(core.clone()));
    counted
}

async fn nats_queues(
    config: &Config,
    store: &Arc<dyn Store>,
    reason: &Reason,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Result<Arc<dyn Queues>, String> {
    let sealer = sealer(store, reason).await?;
    let connect = async || NatsJobs::connect(config.nats.clone()).await;
    let jobs = until("NATS", reason, connect).await;
    let queues = Arc::new(NatsQueues::new(jobs, Arc::clone(store), sealer, Clock::system()));
    spawn_plain(tasks, "queues", core, Arc::clone(&queues).sweep(core.clone()));
    Ok(counted(queues, store, tasks, core))
}

fn assemble(
    config: &Config,
    parts: Parts,
    (processor, webhooks): (Arc<Processor>, Registry),
    metrics: PrometheusHandle,
    tasks: &Tasks,
    draining: &CancellationToken,
    core: &CancellationToken,
) -> Api {
    let Parts { bus, store, committed, gate, membership, queues } = parts;
    let broadcaster = Arc::new(Broadcaster::new(
        Arc::clone(&bus),
        Arc::clone(&store),
        Arc::clone(&committed),
        config.ring_size,
    ));
    let follow = Arc::clone(&broadcaster).run(core.clone());
    spawn_plain(tasks, "broadcaster", core, after_first_check(gate.clone(), core.clone(), follow));
    spawn_plain(tasks, "membership", core, hold(membership, core.clone()));
    let ingest = Arc::new(Ingest {
        bus: Arc::clone(&bus),
        store: Arc::clone(&store),
        known: KnownIds::new(Arc::clone(&store)),
        committed: Arc::clone(&committed),
        gate,
        clock: Clock::system(),
    });
    let presence = Presence {
        ingest: Arc::clone(&ingest),
        store: Arc::clone(&store),
        committed: Arc::clone(&committed),
        clock: Clock::system(),
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
    let sink = Arc::new(QueueSink(Arc::clone(&queues)));
    Api {
        inboxes,
        ingest,
        broadcaster,
        bus,
        dead_letters: DeadLetters::new(Arc::clone(&store), Some(sink)),
        store,
        processor,
        webhooks,
        queues,
        committed,
        metrics,
        draining: draining.clone(),
        drain: config.drain,
        started: Instant::now(),
        bodies: Api::body_budget(),
        requests: Api::request_slots(),
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

/// Keeps the store's membership for the life of the process, and tells when it
/// is in doubt. Writes are fenced by the lease, whatever becomes of it.
async fn hold(membership: Box<dyn Membership>, cancel: CancellationToken) {
    let mut held = true;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(MEMBERSHIP_CHECK) => {}
        }
        let now = membership.held();
        if now != held {
            held = now;
            tracing::warn!(held, "this server's hold on the store");
        }
        metrics::gauge!("agentbus_membership_held").set(f64::from(u8::from(held)));
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
