//! The calls of the domain, one file for each noun, for every surface (HTTP today, MCP and others later).
//!
//! Invariants: every call takes the caller's [`Principal`](crate::access::Principal), so access is checked
//! here and no surface can go around it. Error codes, paging and waits are decided here. A surface parses,
//! calls one service and encodes; it knows neither bus nor store (a test below reads its sources).

pub mod agents;
pub mod audit;
pub mod auth;
pub mod calls;
mod code;
pub mod consumers;
pub mod dead_letters;
mod drain;
pub mod erasures;
mod error;
mod gauges;
pub mod health;
pub mod history;
pub mod inbox;
pub mod keys;
pub mod messages;
pub mod queues;
mod replies;
pub mod schemas;
pub mod stats;
pub mod streams;
mod survey;
pub mod tasks;
pub mod webhooks;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use crate::access::Renewal;
use crate::broadcast::Broadcaster;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::committed::Committed;
use crate::erasures::Eraser;
use crate::ingest::Ingest;
use crate::limits::MAX_SEARCHES;
use crate::membership::MembershipStatus;
use crate::processor::Processor;
use crate::queues::Queues;
use crate::schemas::Registry as SchemaRegistry;
use crate::seal::{Purpose, Sealer};
use crate::store::Store;
use crate::webhooks::Registry;
use audit::Audit;
pub use code::{Code, ErrorKind};
pub use drain::Drain;
pub use error::{Error, LimitReached, Report};

/// The components that the services use.
pub struct Components {
    /// Publishes messages.
    pub ingest: Arc<Ingest>,
    /// Serves streams.
    pub broadcaster: Arc<Broadcaster>,
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// History.
    pub store: Arc<dyn Store>,
    /// Background processing.
    pub processor: Arc<Processor>,
    /// Webhooks.
    pub webhooks: Registry,
    /// Work queues.
    pub queues: Arc<dyn Queues>,
    /// The watermark.
    pub committed: Arc<Committed>,
    /// Whether this server may use its store.
    pub membership: Arc<MembershipStatus>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The server's clock.
    pub clock: Clock,
    /// The server's drain.
    pub drain: Drain,
    /// Keeps the keyring as the store has it.
    pub renewal: Arc<Renewal>,
    /// The payload schemas.
    pub schemas: SchemaRegistry,
    /// Finishes erasures.
    pub eraser: Arc<Eraser>,
    /// The audit log.
    pub audit: Audit,
    /// Whether every call needs a credential (`AUTH=required`).
    pub auth_required: bool,
    /// The secret that all servers of the deployment share.
    pub secret: [u8; 32],
}

/// All services. Clones share them.
#[derive(Clone)]
pub struct Services(Arc<Nouns>);

/// One service for each noun.
pub struct Nouns {
    /// Publishing.
    pub messages: messages::Messages,
    /// Committed messages.
    pub history: history::History,
    /// Erasure of messages.
    pub erasures: erasures::Erasures,
    /// Live subscriptions.
    pub streams: streams::Streams,
    /// The directory of agents.
    pub agents: agents::Agents,
    /// Tasks and their states.
    pub tasks: tasks::Tasks,
    /// The inbox of each agent.
    pub inboxes: inbox::Inboxes,
    /// Jobs and leases.
    pub queues: queues::WorkQueues,
    /// Consumers of the log.
    pub consumers: consumers::Consumers,
    /// Messages and jobs that were given up.
    pub dead_letters: dead_letters::DeadLetters,
    /// Webhooks and their deliveries.
    pub webhooks: webhooks::Webhooks,
    /// Counters.
    pub stats: stats::Stats,
    /// Readiness and status.
    pub health: Arc<health::Health>,
    /// Credentials.
    pub auth: auth::Auth,
    /// Keys.
    pub keys: keys::Keys,
    /// Payload schemas.
    pub schemas: schemas::Schemas,
    /// The audit log.
    pub audit: Audit,
}

impl Deref for Services {
    type Target = Nouns;

    fn deref(&self) -> &Nouns {
        &self.0
    }
}

impl Services {
    /// Makes the services from the components of a server.
    #[must_use]
    pub fn new(components: Components) -> Self {
        let Components { ingest, broadcaster, bus, store, processor, .. } = components;
        let Components { webhooks, queues, committed, membership, metrics, clock, drain, .. } =
            components;
        let Components { renewal, schemas, eraser, audit, auth_required, secret, .. } = components;
        let health = Arc::new(health::Health {
            bus: Arc::clone(&bus),
            store: Arc::clone(&store),
            ingest: Arc::clone(&ingest),
            membership,
            drain: drain.clone(),
            started: Instant::now(),
        });
        let survey = survey::Survey::new(
            Arc::clone(&processor),
            Arc::clone(&queues),
            Arc::clone(&store),
            Arc::clone(&health),
            clock.clone(),
        );
        Self(Arc::new(Nouns {
            messages: messages::Messages {
                ingest: Arc::clone(&ingest),
                store: Arc::clone(&store),
                broadcaster: Arc::clone(&broadcaster),
                people: replies::People {
                    keyring: renewal.keyring().clone(),
                    keys_required: auth_required,
                },
                schemas: schemas.clone(),
                drain: drain.clone(),
            },
            history: history::History {
                store: Arc::clone(&store),
                broadcaster: Arc::clone(&broadcaster),
                committed: Arc::clone(&committed),
                searches: Semaphore::new(MAX_SEARCHES),
            },
            erasures: erasures::Erasures {
                store: Arc::clone(&store),
                eraser,
                broadcaster: Arc::clone(&broadcaster),
                committed: Arc::clone(&committed),
                audit: audit.clone(),
                clock: clock.clone(),
            },
            streams: streams::Streams {
                broadcaster: Arc::clone(&broadcaster),
                drain: drain.clone(),
            },
            agents: agents::Agents {
                store: Arc::clone(&store),
                committed: Arc::clone(&committed),
                clock: clock.clone(),
            },
            tasks: tasks::Tasks { store: Arc::clone(&store), committed: Arc::clone(&committed) },
            inboxes: inbox::Inboxes::new(
                Arc::clone(&store),
                Arc::clone(&broadcaster),
                Arc::clone(&committed),
                clock.clone(),
                drain.clone(),
            ),
            queues: queues::WorkQueues {
                queues: Arc::clone(&queues),
                drain: drain.clone(),
                audit: audit.clone(),
                clock: clock.clone(),
                leases: Sealer::new(secret, Purpose::Lease),
            },
            consumers: consumers::Consumers {
                processor: Arc::clone(&processor),
                audit: audit.clone(),
            },
            dead_letters: dead_letters::DeadLetters {
                store: Arc::clone(&store),
                queues: Arc::clone(&queues),
                audit: audit.clone(),
            },
            auth: auth::Auth {
                renewal: Arc::clone(&renewal),
                store: Arc::clone(&store),
                audit: audit.clone(),
                clock: clock.clone(),
                sessions: Sealer::new(secret, Purpose::Session),
                tickets: Sealer::new(secret, Purpose::Ticket),
                is_required: auth_required,
                failures: auth::Failures::default(),
            },
            keys: keys::Keys {
                store: Arc::clone(&store),
                renewal,
                audit: audit.clone(),
                clock: clock.clone(),
            },
            schemas: schemas::Schemas {
                store: Arc::clone(&store),
                registry: schemas,
                audit: audit.clone(),
                clock: clock.clone(),
                turn: Semaphore::new(1),
            },
            webhooks: webhooks::Webhooks { registry: webhooks, audit: audit.clone(), clock },
            audit,
            health,
            stats: stats::Stats {
                bus,
                store,
                broadcaster,
                committed,
                processor,
                queues,
                metrics,
                survey: Arc::new(survey),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    //! Tests the direction of dependencies: surfaces → services → everything else.

    use std::path::Path;

    /// The surfaces, including those that do not exist yet.
    const SURFACES: [&str; 4] = ["http", "mcp", "a2a", "bridge"];
    /// Modules of this crate that a surface may name.
    const ALLOWED: [&str; 9] = [
        "access",
        "clock",
        "config",
        "limits",
        "message",
        "services",
        "telemetry",
        "tls",
        "yielding",
    ];
    /// Crates that only modules behind the services may use.
    const FOREIGN: [&str; 2] = ["sqlx", "async_nats"];

    /// The names in a surface's source that bypass the services.
    fn detours(surface: &str, source: &str) -> Vec<String> {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let after = |path: &'static str| {
            source.match_indices(path).flat_map(move |(at, _)| {
                let rest = &source[at + path.len()..];
                let list = rest.strip_prefix('{').and_then(|list| list.split('}').next());
                // In a list such as `{a::b, c}` the first name of each path; in a single path
                // its first name.
                let items = list.unwrap_or(rest).split(if list.is_some() { ',' } else { '\0' });
                items.map(move |item| item.trim().split(|c| !is_name(c)).next().unwrap_or_default())
            })
        };
        let own = after("crate::").filter(|name| *name != surface && !ALLOWED.contains(name));
        let foreign = FOREIGN.into_iter().filter(|name| source.contains(&format!("{name}::")));
        own.chain(foreign).map(str::to_owned).collect()
    }

    fn check(surface: &str, folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                check(surface, &path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let source = std::fs::read_to_string(&path).expect("a source");
                let found = detours(surface, &source);
                assert!(found.is_empty(), "{} goes around the services: {found:?}", path.display());
            }
        }
    }

    #[test]
    fn surfaces_reach_the_domain_through_services_alone() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert!(sources.join(SURFACES[0]).is_dir());
        for surface in SURFACES {
            let folder = sources.join(surface);
            if folder.is_dir() {
                check(surface, &folder);
            }
        }
    }

    #[test]
    fn a_detour_around_the_services_is_found() {
        let found = |source| detours("http", source);
        assert_eq!(found("use crate::store::{Page, Store};"), ["store"]);
        assert_eq!(found("use crate::{bus::Bus, limits, processor};"), ["bus", "processor"]);
        assert_eq!(found("fn f(_: &dyn crate::queues::Queues) {}"), ["queues"]);
        assert_eq!(found("sqlx::query(\"\")"), ["sqlx"]);
        assert!(found("use crate::services::{Error, history};\nuse crate::http::body;").is_empty());
    }
}
