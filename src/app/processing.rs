//! Processing as a part of a server, and alone: `agentbus worker`.
//!
//! Invariant: a worker neither listens nor projects; it shares the consumers of the
//! servers on the same NATS and PostgreSQL.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::components::{Components, open_store};
use super::{Reason, after_first_check, spawn_plain, until};
use crate::bus::Bus;
use crate::bus::nats::{IfMissing, NatsBus};
use crate::clock::Clock;
use crate::config::{Config, ProcessorConfig};
use crate::limits::CORE_STOP;
use crate::membership::MembershipMonitor;
use crate::message::SubjectPattern;
use crate::processor::handler::Handler;
use crate::processor::{ConsumerSpec, ExecHandler, Policy, Processor, Start};
use crate::shutdown::Tasks;
use crate::store::work::WorkStore;
use crate::store::{BusKind, Membership, Store};
use crate::webhooks::{DeliveryContext, Registry, Supervisor, WebhookClient};

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
    let Some(components) = stop.run_until_cancelled(join_servers(&config)).await else {
        return Ok(());
    };
    let (bus, store, membership) = components?;
    let (tasks, core) = (Tasks::new(stop.clone()), CancellationToken::new());
    let processor = Arc::new(Processor::new(bus, Arc::clone(&store), config.drain));
    let (directory, cancel) = (Arc::clone(&processor), core.clone());
    spawn_plain(&tasks, "consumers", &core, async move { directory.run(cancel).await });
    let keeper = MembershipMonitor { membership, alone: None, standing: Arc::default() };
    tasks.spawn("membership", core.clone(), keeper.run(core.clone()));
    tracing::info!(consumer = spec.name, concurrency = spec.concurrency, "working");
    processor.consume(spec, stop).await;
    core.cancel();
    let ended = tokio::time::timeout(CORE_STOP, tasks.ended()).await;
    store.close().await;
    ended.unwrap_or_else(|_| Err("some components did not stop in time".to_owned()))
}

type Joined = (Arc<dyn Bus>, Arc<dyn Store>, Box<dyn Membership>);

/// Store and stream, once servers have put the log on NATS.
async fn join_servers(config: &Config) -> Result<Joined, String> {
    let reason: Reason = Arc::default();
    let store = open_store(&config.store, BusKind::Nats, &reason).await?;
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

/// The consumer of the configuration.
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

/// Runs the processor; without a handler its consumer is made and left alone. When this
/// returns the consumer is in the store, so that no request to the server finds none.
pub(super) async fn process(
    config: &Config,
    handlers: Vec<Arc<dyn Handler>>,
    components: &Components,
    reason: &Reason,
    tasks: &Tasks,
    draining: &CancellationToken,
    core: &CancellationToken,
) -> Arc<Processor> {
    let (bus, store) = (Arc::clone(&components.bus), Arc::clone(&components.store));
    let processor = Arc::new(Processor::new(bus, store, config.drain));
    let spec = consumer(&config.processor, handlers);
    until("the store", reason, async || processor.declare(&spec).await).await;
    let (directory, consumers) = (Arc::clone(&processor), Arc::clone(&processor));
    let cancel = core.clone();
    spawn_plain(tasks, "consumers", core, async move { directory.run(cancel).await });
    let (gate, stop) = (components.gate.clone(), draining.clone());
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
pub(super) fn webhooks(
    config: &Config,
    courier: WebhookClient,
    components: &Components,
    processor: &Arc<Processor>,
    tasks: &Tasks,
    draining: &CancellationToken,
) -> Registry {
    let Components { bus, store, committed, gate, .. } = components;
    let kept: Arc<dyn WorkStore> = Arc::clone(store) as _;
    let registry = Registry::new(
        Arc::clone(&kept),
        Arc::clone(bus),
        Arc::clone(processor),
        Arc::clone(committed),
        config.webhooks.guard,
    );
    let supervisor = Supervisor {
        context: DeliveryContext {
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
