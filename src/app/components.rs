//! The components of a server, built one upon the other, waiting for what is not there yet.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Reason, after_first_check, spawn_plain, until};
use crate::broadcast::Broadcaster;
use crate::bus::Bus;
use crate::bus::memory::{JournalError, MemoryBus};
use crate::bus::nats::jobs::NatsJobs;
use crate::bus::nats::{IfMissing, NatsBus};
use crate::clock::Clock;
use crate::committed::Committed;
use crate::config::{Config, StoreConfig};
use crate::continuity::{Continuity, Gate};
use crate::presence::LapseIds;
use crate::projector::{Projector, StoreJournal};
use crate::queues::{DoneCounter, NatsQueues, Queues, Sealer, StoreQueues};
use crate::shutdown::Tasks;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{BusKind, Lease, Membership, Store, StoreError};
use crate::switch;

/// The components of a running server.
pub(super) struct Components {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) store: Arc<dyn Store>,
    pub(super) committed: Arc<Committed>,
    pub(super) gate: Gate,
    pub(super) membership: Box<dyn Membership>,
    /// The lease of a server that has the store alone.
    pub(super) lease: Option<Lease>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) lapse_ids: LapseIds,
}

pub(super) async fn build(
    config: &Config,
    abandon_tail: bool,
    reason: &Reason,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Result<Components, String> {
    let store = open_store(&config.store, config.bus, reason).await?;
    let membership = until("the store", reason, async || store.join(config.bus).await).await?;
    let owner = Uuid::new_v4();
    let committed = Arc::new(Committed::default());
    let secret = secret(&store, reason).await?;
    let (sealer, lapse_ids) = (Sealer::new(secret), LapseIds::new(&secret));
    let (bus, gate, broadcaster, queues, lease) = match config.bus {
        BusKind::Memory => {
            let lease = switch::to_memory(&store, &config.nats, owner, abandon_tail).await?;
            let (bus, gate) = memory_bus(&store, lease, &committed, tasks, core).await?;
            let queues = store_queues(&store, sealer, tasks, core);
            let broadcaster = broadcaster(config, &bus, &store, &committed);
            (bus, gate, broadcaster, queues, Some(lease))
        }
        BusKind::Nats => {
            let (bus, gate) =
                nats_bus(config, &store, &committed, owner, reason, tasks, core).await;
            let broadcaster = broadcaster(config, &bus, &store, &committed);
            let projector = Projector {
                bus: Arc::clone(&bus),
                broadcaster: Arc::clone(&broadcaster),
                gate: gate.clone(),
                store: Arc::clone(&store),
                committed: Arc::clone(&committed),
                owner,
            };
            // Readers begin where the first check leaves the stream.
            let projecting =
                after_first_check(gate.clone(), core.clone(), projector.run(core.clone()));
            spawn_plain(tasks, "projector", core, projecting);
            let queues = nats_queues(config, &store, sealer, reason, tasks, core).await;
            (bus, gate, broadcaster, queues, None)
        }
    };
    Ok(Components {
        bus,
        broadcaster,
        store,
        committed,
        gate,
        membership,
        lease,
        queues,
        lapse_ids,
    })
}

fn broadcaster(
    config: &Config,
    bus: &Arc<dyn Bus>,
    store: &Arc<dyn Store>,
    committed: &Arc<Committed>,
) -> Arc<Broadcaster> {
    let (bus, store, committed) = (Arc::clone(bus), Arc::clone(store), Arc::clone(committed));
    Arc::new(Broadcaster::new(bus, store, committed, config.ring_size))
}

/// Opens the store for this bus, waiting for a database that is not there yet.
pub(super) async fn open_store(
    config: &StoreConfig,
    bus: BusKind,
    reason: &Reason,
) -> Result<Arc<dyn Store>, String> {
    let store: Arc<dyn Store> = match config {
        StoreConfig::Sqlite(dir) => SqliteStore::open(dir)
            .await
            .map(Arc::new)
            .map_err(|error| format!("DATA_DIR={}: {error}", dir.display()))?,
        StoreConfig::Postgres(url) => {
            let connect = async || match PostgresStore::connect_for(url, bus).await {
                Err(error @ StoreError::Unavailable(_)) => Err(error),
                settled => Ok(settled),
            };
            let store = until("PostgreSQL", reason, connect).await;
            Arc::new(store.map_err(|error| format!("DATABASE_URL: {error}"))?)
        }
    };
    for weakness in until("the store", reason, async || store.weaknesses().await).await {
        tracing::error!("{weakness}");
    }
    Ok(store)
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
        if state.committed_through > 0 { IfMissing::CreateClosed } else { IfMissing::Create };
    let connect = async || NatsBus::connect_or(config.nats.clone(), missing).await;
    let nats = Arc::new(until("NATS", reason, connect).await);
    match nats.sync_setting() {
        Ok(line) => tracing::info!("{line}"),
        Err(line) => tracing::warn!("{line}"),
    }
    let gate = Gate::closed_watching(nats.suspicions(), "the log's continuity is being checked");
    let continuity = Continuity {
        bus: Arc::clone(&nats),
        store: Arc::clone(store),
        committed: Arc::clone(committed),
        gate: gate.clone(),
        owner,
    };
    spawn_plain(tasks, "continuity", core, continuity.run(core.clone()));
    (nats, gate)
}

/// What lease tokens are sealed with, and what else nobody may guess comes from: one secret for
/// all servers of the store.
async fn secret(store: &Arc<dyn Store>, reason: &Reason) -> Result<[u8; 32], String> {
    let fresh = Sealer::fresh_secret().ok_or("the system has no randomness")?;
    Ok(until("the store", reason, async || store.lease_secret(fresh).await).await)
}

fn store_queues(
    store: &Arc<dyn Store>,
    sealer: Sealer,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Arc<dyn Queues> {
    let done = done_counter(store, tasks, core);
    let queues = Arc::new(StoreQueues::new(Arc::clone(store), sealer, Clock::system(), done));
    spawn_plain(tasks, "queues", core, Arc::clone(&queues).sweep(core.clone()));
    queues
}

/// Counts the jobs that are done, for `/v1/stats`.
fn done_counter(
    store: &Arc<dyn Store>,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Arc<DoneCounter> {
    let done = Arc::new(DoneCounter::new(Arc::clone(store)));
    spawn_plain(tasks, "count of jobs", core, Arc::clone(&done).run(core.clone()));
    done
}

async fn nats_queues(
    config: &Config,
    store: &Arc<dyn Store>,
    sealer: Sealer,
    reason: &Reason,
    tasks: &Tasks,
    core: &CancellationToken,
) -> Arc<dyn Queues> {
    let connect = async || NatsJobs::connect(config.nats.clone()).await;
    let jobs = until("NATS", reason, connect).await;
    let done = done_counter(store, tasks, core);
    let queues = Arc::new(NatsQueues::new(jobs, Arc::clone(store), sealer, Clock::system(), done));
    spawn_plain(tasks, "queues", core, Arc::clone(&queues).sweep(core.clone()));
    queues
}
