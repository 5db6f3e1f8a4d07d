//! Background processing: each message at least once, by one worker at a time,
//! retried with sense, and never lost in silence (contract, section 10).
//!
//! A consumer's first deliveries come from the bus (`puller`), or from the store
//! where the bus does not hold them (`feeder`); every further attempt comes from
//! the store (`retries`), where attempts are counted exactly. A `line` runs them
//! all, and `settle` is the one place that acks.
//!
//! Invariant: a message leaves a consumer as done, as expired or as a dead letter,
//! and in no other way. One that never ran is never buried.

mod bus_source;
mod consume;
mod directory;
mod durable;
mod exec;
mod feed_progress;
pub mod handler;
mod in_flight;
mod metrics;
mod policy;
mod position;
mod retries;
mod run;
mod runtime;
mod settle;
mod status;
mod store_source;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::bus::Bus;
use crate::limits::FAULT_PAUSE;
use crate::message::SubjectPattern;
use crate::store::Store;
use directory::Directory;
pub use exec::ExecHandler;
use handler::Handler;
use metrics::ConsumerMetrics;
pub use policy::Policy;
pub use status::{ConsumerStatus, ControlError, WEBHOOK_PREFIX};

/// Where a consumer begins that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that bus or store still has.
    Earliest,
    /// With messages published from now on.
    Latest,
}

/// A consumer to be run.
#[derive(Clone)]
pub struct ConsumerSpec {
    /// Its name, which is its identity in store and bus.
    pub name: String,
    /// What it gets.
    pub filter: SubjectPattern,
    /// The rules of its attempts.
    pub policy: Policy,
    /// Where it begins if it is new.
    pub start: Start,
    /// Who processes; each gets what its own subjects match.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Messages that run at once in this process.
    pub concurrency: usize,
}

/// Runs consumers in this process.
pub struct Processor {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    directory: Directory,
    /// This process, as the holder of feeds.
    owner: Uuid,
    /// How long what was begun may take after a stop.
    drain: Duration,
    /// Consumers that run here.
    running: TaskTracker,
    /// Their rules, by name.
    policies: Mutex<HashMap<String, Policy>>,
    /// Names of those that have a handler here.
    handled: Mutex<HashSet<String>>,
    /// What metrics tell of them.
    metrics: ConsumerMetrics,
}

impl Processor {
    /// A processor of one log. [`Processor::run`] must run for consumers to be moved and paused.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, store: Arc<dyn Store>, drain: Duration) -> Self {
        let directory = Directory::new(Arc::clone(&store));
        Self {
            bus,
            store,
            directory,
            owner: Uuid::new_v4(),
            drain,
            running: TaskTracker::new(),
            policies: Mutex::default(),
            handled: Mutex::default(),
            metrics: ConsumerMetrics::default(),
        }
    }

    /// Follows the consumers in the store until cancelled: pauses, resets, deletions.
    pub async fn run(&self, cancel: CancellationToken) {
        self.directory.run(cancel).await;
    }

    /// The rules of the consumers known here; another's are the default ones.
    fn policies(&self) -> MutexGuard<'_, HashMap<String, Policy>> {
        self.policies.lock()
    }

    /// Tells that a consumer will run here: from now on it is shown as one that does.
    pub fn expect(&self, name: &str) {
        self.handled().insert(name.to_owned());
    }

    fn handled(&self) -> MutexGuard<'_, HashSet<String>> {
        self.handled.lock()
    }

    /// Waits until no consumer runs here any more, all having been told to stop.
    pub async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Makes a consumer known, and its durable consumer where the bus keeps those, so
    /// that it is there before its first handler. Does nothing more until cancelled.
    pub async fn announce(&self, spec: ConsumerSpec, cancel: CancellationToken) {
        let announcing = async {
            self.make(&spec).await;
            while let Err(error) = self.prepare(&spec).await {
                tracing::debug!(%error, consumer = spec.name, "its durable consumer waits");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        };
        if cancel.run_until_cancelled(announcing).await.is_some() {
            cancel.cancelled().await;
        }
    }
}
