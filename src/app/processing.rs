//! Background processing in a server, and on its own in `agentbus worker`.
//!
//! Invariant: a worker neither listens nor projects. It shares the consumers of the servers on the same NATS
//! and PostgreSQL.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::components::{Components, open_store};
use super::startup::Startup;
use crate::bus::Bus;
use crate::bus::nats::{IfMissing, NatsBus, Use};
use crate::config::{Config, ProcessorConfig};
use crate::erased::Erased;
use crate::erasures::ErasedSnapshot;
use crate::message::SubjectPattern;
use crate::processor::handler::Handler;
use crate::processor::{ConsumerSpec, ExecHandler, Policy, Processor, Start};
use crate::renewal;
use crate::store::work::WorkStore;
use crate::store::{BusKind, Membership, Store};
use crate::webhooks::{DeliveryContext, Makers, Registry, Supervisor, WebhookClient};

/// Runs a worker until `stop` is cancelled: it processes messages of a log on NATS, beside the servers.
///
/// # Errors
/// What the configuration lacks, the reason why the worker could not start, or the part that failed.
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
    let startup = Startup::new(config, stop.clone());
    let Some(joined) = stop.run_until_cancelled(join_servers(&startup)).await else {
        return Ok(());
    };
    let (bus, store, membership) = joined?;
    let erased = erased(&startup, &store).await;
    let processor = processor(&startup, bus, Arc::clone(&store), erased);
    startup.monitor_membership(membership, None);
    tracing::info!(consumer = spec.name, concurrency = spec.concurrency, "working");
    processor.consume(spec, stop).await;
    let ended = startup.end_core().await;
    store.close().await;
    ended
}

type Joined = (Arc<dyn Bus>, Arc<dyn Store>, Box<dyn Membership>);

/// Opens store and stream, once a server has set the log up on NATS.
async fn join_servers(startup: &Startup) -> Result<Joined, String> {
    let store = open_store(startup, BusKind::Nats).await?;
    let membership = startup.until("the store", async || store.join(BusKind::Nats).await).await?;
    let nats = &startup.config.nats;
    let connect = async || NatsBus::connect_or(nats.clone(), IfMissing::Refuse, &Use::WORKER).await;
    let bus = startup.until("NATS", connect).await;
    let joined = async || match store.log_state().await {
        Ok(state) if state.bus == Some(BusKind::Nats) => Ok(()),
        Ok(_) => Err("none has put the log on NATS yet".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    startup.until("a server", joined).await;
    Ok((Arc::new(bus), store, membership))
}

/// Reads which messages are erased, and keeps that as the store has it.
async fn erased(startup: &Startup, store: &Arc<dyn Store>) -> Arc<Erased> {
    let erased = Arc::new(Erased::default());
    let snapshot = ErasedSnapshot::new(Arc::clone(&erased), Arc::clone(store), None);
    startup.until("the store", async || snapshot.load().await).await;
    let (kept, store) = (Arc::new(snapshot) as _, Arc::clone(store));
    let renewing = renewal::keep(vec![kept], store, startup.clock.clone(), startup.core());
    startup.spawn_core("erasures", renewing);
    erased
}

/// A processor for the consumers in the store.
fn processor(
    startup: &Startup,
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    erased: Arc<Erased>,
) -> Arc<Processor> {
    let (clock, drain) = (startup.clock.clone(), startup.config.drain);
    let processor = Arc::new(Processor::new(bus, store, erased, clock, drain));
    let (follower, cancel) = (Arc::clone(&processor), startup.core());
    startup.spawn_core("consumers", async move { follower.run(cancel).await });
    processor
}

/// The consumer that the configuration describes.
pub(super) fn consumer(
    config: &ProcessorConfig,
    mut handlers: Vec<Arc<dyn Handler>>,
) -> ConsumerSpec {
    let filter = SubjectPattern::all();
    if let Some(command) = &config.exec {
        let exec = ExecHandler::new(command.clone(), filter.clone(), config.exec_timeout);
        handlers.push(Arc::new(exec.showing_stderr(config.exec_show_stderr)));
    }
    ConsumerSpec {
        name: config.consumer.clone(),
        filter,
        policy: Policy::default(),
        start: Start::Earliest,
        handlers,
        concurrency: config.concurrency,
    }
}

/// Starts the processor. Without a handler, only its consumer is created. When this returns, the consumer is
/// in the store, so that requests find it.
pub(super) async fn process(
    startup: &Startup,
    handlers: Vec<Arc<dyn Handler>>,
    components: &Components,
) -> Arc<Processor> {
    let (bus, store) = (Arc::clone(&components.bus), Arc::clone(&components.store));
    let processor = processor(startup, bus, store, Arc::clone(&components.erased));
    let spec = consumer(&startup.config.processor, handlers);
    startup.until("the store", async || processor.declare(&spec).await).await;
    if !spec.handlers.is_empty() {
        processor.expect(&spec.name);
    }
    let (consumers, stop) = (Arc::clone(&processor), startup.lifecycle.draining().clone());
    startup.spawn_processing("processor", &components.gate, async move {
        if spec.handlers.is_empty() {
            consumers.announce(spec, stop).await;
        } else {
            consumers.consume(spec, stop).await;
        }
    });
    processor
}

/// Starts deliveries to webhooks, whichever server created them.
pub(super) fn webhooks(
    startup: &Startup,
    client: WebhookClient,
    components: &Components,
    processor: &Arc<Processor>,
) -> Registry {
    let Components { bus, store, committed, gate, .. } = components;
    let config = &startup.config.webhooks;
    let store: Arc<dyn WorkStore> = Arc::clone(store) as _;
    let registry = Registry::new(
        Arc::clone(&store),
        Arc::clone(bus),
        Arc::clone(processor),
        Arc::clone(committed),
        config.guard,
    );
    let supervisor = Supervisor {
        context: DeliveryContext {
            client,
            policy: config.backoff.policy(),
            store,
            processor: Arc::clone(processor),
            clock: startup.clock.clone(),
            makers: Makers {
                keyring: components.renewal.keyring().clone(),
                is_required: startup.config.access.required,
            },
        },
        bus: Arc::clone(bus),
        changed: registry.changed(),
    };
    let work = supervisor.run(startup.lifecycle.draining().clone());
    startup.spawn_processing("webhooks", gate, work);
    registry
}
