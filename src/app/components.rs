//! The components of a server, built in order of their dependencies; waits for NATS and the database.

use std::sync::Arc;

use uuid::Uuid;

use super::startup::Startup;
use crate::access::{Issuers, Keyring, Renewal};
use crate::broadcast::Broadcaster;
use crate::bus::Bus;
use crate::bus::memory::{JournalError, MemoryBus};
use crate::bus::nats::jobs::NatsJobs;
use crate::bus::nats::{IfMissing, NatsBus, Use};
use crate::committed::Committed;
use crate::config::StoreConfig;
use crate::continuity::{Continuity, Gate};
use crate::erased::Erased;
use crate::erasures::{ErasedSnapshot, Eraser};
use crate::presence::LapseIds;
use crate::projector::{Projector, StoreJournal};
use crate::queues::{DoneCounter, NatsQueues, Queues, StoreQueues};
use crate::renewal::{self, Snapshot};
use crate::schemas::{ForeignQueue, Registry};
use crate::seal::{Purpose, Sealer};
use crate::shutdown::Phase;
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
    /// Only on the memory bus: the lease by which this server alone writes to the store.
    pub(super) lease: Option<Lease>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) lapse_ids: LapseIds,
    pub(super) renewal: Arc<Renewal>,
    pub(super) schemas: Registry,
    pub(super) erased: Arc<Erased>,
    pub(super) eraser: Arc<Eraser>,
    /// The secret that all servers of the deployment share.
    pub(super) secret: [u8; 32],
}

pub(super) async fn build(
    startup: &Startup,
    issuers: Arc<Issuers>,
    abandon_tail: bool,
) -> Result<Components, String> {
    let config = &startup.config;
    let store = open_store(startup, config.bus).await?;
    for lack in startup.until("the store", async || store.missing_rights().await).await {
        tracing::error!("DATABASE_URL: {lack}");
    }
    let membership = startup.until("the store", async || store.join(config.bus).await).await?;
    let owner = Uuid::new_v4();
    let committed = Arc::new(Committed::default());
    let (renewal, schemas) = snapshots(startup, issuers, &store).await?;
    let erased = Arc::new(Erased::default());
    let secret = secret(startup, &store).await?;
    let (sealer, lapse_ids) = (Sealer::new(secret, Purpose::Lease), LapseIds::new(&secret));
    let (bus, gate, broadcaster, queues, lease) = match config.bus {
        BusKind::Memory => {
            let lease = switch::to_memory(&store, &config.nats, owner, abandon_tail).await?;
            let (bus, gate) = memory_bus(startup, &store, lease, &committed).await?;
            let queues = store_queues(startup, &store, sealer);
            let broadcaster = broadcaster(startup, &bus, &store, &committed, &erased);
            (bus, gate, broadcaster, queues, Some(lease))
        }
        BusKind::Nats => {
            let (bus, gate) = nats_bus(startup, &store, &committed, owner).await;
            let broadcaster = broadcaster(startup, &bus, &store, &committed, &erased);
            let (foreign, checks) = ForeignQueue::new(schemas.clone());
            startup.spawn_core("checks of foreign messages", checks.run(startup.core()));
            let projector = Projector {
                foreign,
                bus: Arc::clone(&bus),
                broadcaster: Arc::clone(&broadcaster),
                gate: gate.clone(),
                store: Arc::clone(&store),
                committed: Arc::clone(&committed),
                owner,
            };
            // The projector reads only once the first check of the stream has opened the gate.
            startup.spawn_reader("projector", &gate, projector.run(startup.core()));
            let queues = nats_queues(startup, &store, sealer).await;
            (bus, gate, broadcaster, queues, None)
        }
    };
    let forgetting = Some(Arc::clone(&broadcaster));
    let erasures =
        Arc::new(ErasedSnapshot::new(Arc::clone(&erased), Arc::clone(&store), forgetting));
    startup.until("the store", async || erasures.load().await).await;
    let eraser =
        Eraser::new(Arc::clone(&bus), Arc::clone(&store), gate.clone(), Arc::clone(&erasures));
    let eraser = Arc::new(eraser);
    startup.spawn_core("erasures", Arc::clone(&eraser).run(startup.core()));
    let kept: Vec<Arc<dyn Snapshot>> =
        vec![Arc::clone(&renewal) as _, Arc::new(schemas.clone()), erasures];
    let renewing = renewal::keep(kept, Arc::clone(&store), startup.clock.clone(), startup.core());
    startup.spawn_core("keys, schemas and erasures", renewing);
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
        renewal,
        schemas,
        erased,
        eraser,
        secret,
    })
}

fn broadcaster(
    startup: &Startup,
    bus: &Arc<dyn Bus>,
    store: &Arc<dyn Store>,
    committed: &Arc<Committed>,
    erased: &Arc<Erased>,
) -> Arc<Broadcaster> {
    let (bus, store, committed) = (Arc::clone(bus), Arc::clone(store), Arc::clone(committed));
    let erased = Arc::clone(erased);
    Arc::new(Broadcaster::new(bus, store, committed, erased, startup.config.ring_size))
}

/// Opens the store for this bus; waits until the database is there.
pub(super) async fn open_store(startup: &Startup, bus: BusKind) -> Result<Arc<dyn Store>, String> {
    let store: Arc<dyn Store> = match &startup.config.store {
        StoreConfig::Sqlite(dir) => SqliteStore::open(dir)
            .await
            .map(Arc::new)
            .map_err(|error| format!("DATA_DIR={}: {error}", dir.display()))?,
        StoreConfig::Postgres(url) => {
            let connect = async || match PostgresStore::connect_for(url, bus).await {
                Err(error @ StoreError::Unavailable(_)) => Err(error),
                settled => Ok(settled),
            };
            let store = startup.until("PostgreSQL", connect).await;
            Arc::new(store.map_err(|error| format!("DATABASE_URL: {error}"))?)
        }
    };
    for weakness in startup.until("the store", async || store.weaknesses().await).await {
        tracing::error!("{weakness}");
    }
    Ok(store)
}

async fn memory_bus(
    startup: &Startup,
    store: &Arc<dyn Store>,
    lease: Lease,
    committed: &Arc<Committed>,
) -> Result<(Arc<dyn Bus>, Gate), String> {
    let journal = Arc::new(StoreJournal::new(
        Arc::clone(store),
        lease,
        Arc::clone(committed),
        MemoryBus::LOG_NAME,
    ));
    let opened = MemoryBus::open(journal, startup.clock.clone()).await;
    let (bus, writer) = opened.map_err(|error: JournalError| error.to_string())?;
    startup.tasks.spawn_fallible("memory bus", Phase::Aborting, writer.run(startup.core()));
    Ok((Arc::new(bus), Gate::open()))
}

async fn nats_bus(
    startup: &Startup,
    store: &Arc<dyn Store>,
    committed: &Arc<Committed>,
    owner: Uuid,
) -> (Arc<dyn Bus>, Gate) {
    // If the stream must be created, it is filled from the store before anybody may publish.
    let state = startup.until("the store", async || store.log_state().await).await;
    let missing =
        if state.committed_through > 0 { IfMissing::CreateClosed } else { IfMissing::Create };
    let connect =
        async || NatsBus::connect_or(startup.config.nats.clone(), missing, &Use::SERVER).await;
    let nats = Arc::new(startup.until("NATS", connect).await);
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
    startup.spawn_core("continuity", continuity.run(startup.core()));
    (nats, gate)
}

/// Reads keys and schemas. A server does not open without.
async fn snapshots(
    startup: &Startup,
    issuers: Arc<Issuers>,
    store: &Arc<dyn Store>,
) -> Result<(Arc<Renewal>, Registry), String> {
    let renewal = Arc::new(Renewal::new(
        Keyring::with_issuers(issuers),
        Arc::clone(store),
        startup.clock.clone(),
        startup.config.access.root_key_file.clone(),
    ));
    startup.until("the store", async || renewal.start().await).await?;
    let schemas = Registry::new(Arc::clone(store));
    startup.until("the store", async || schemas.load().await).await;
    Ok((renewal, schemas))
}

/// The secret that all servers of a deployment share. It seals lease tokens. Ids that must not be
/// guessed are derived from it.
async fn secret(startup: &Startup, store: &Arc<dyn Store>) -> Result<[u8; 32], String> {
    let fresh = Sealer::fresh_secret().ok_or("the system has no randomness")?;
    Ok(startup.until("the store", async || store.lease_secret(fresh).await).await)
}

fn store_queues(startup: &Startup, store: &Arc<dyn Store>, sealer: Sealer) -> Arc<dyn Queues> {
    let (clock, done) = (startup.clock.clone(), done_counter(startup, store));
    let queues = Arc::new(StoreQueues::new(Arc::clone(store), sealer, clock, done));
    startup.spawn_core("queues", Arc::clone(&queues).sweep(startup.core()));
    queues
}

/// A task that counts finished jobs, for `/v1/stats`.
fn done_counter(startup: &Startup, store: &Arc<dyn Store>) -> Arc<DoneCounter> {
    let done = Arc::new(DoneCounter::new(Arc::clone(store)));
    startup.spawn_core("count of jobs", Arc::clone(&done).run(startup.core()));
    done
}

async fn nats_queues(startup: &Startup, store: &Arc<dyn Store>, sealer: Sealer) -> Arc<dyn Queues> {
    let connect = async || NatsJobs::connect(startup.config.nats.clone()).await;
    let jobs = startup.until("NATS", connect).await;
    let (clock, done) = (startup.clock.clone(), done_counter(startup, store));
    let queues = Arc::new(NatsQueues::new(jobs, Arc::clone(store), sealer, clock, done));
    startup.spawn_core("queues", Arc::clone(&queues).sweep(startup.core()));
    queues
}
