//! State that all consumers of this process share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::directory::Directory;
use super::metrics::ConsumerMetrics;
use super::policy::Policy;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::erased::Erased;
use crate::store::Store;

/// Runs consumers in this process.
pub struct Processor {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) store: Arc<dyn Store>,
    pub(super) erased: Arc<Erased>,
    pub(super) clock: Clock,
    pub(super) directory: Directory,
    /// Identifies this process when it claims a feed.
    pub(super) owner: Uuid,
    /// How long attempts may take to finish after a stop.
    pub(super) drain: Duration,
    /// Tracks the consumers that run here.
    pub(super) running: TaskTracker,
    /// The policies of consumers that were created here, by name. Others have the default policy.
    pub(super) policies: Mutex<HashMap<String, Policy>>,
    /// The names of consumers that have a handler in this process.
    pub(super) handled: Mutex<HashSet<String>>,
    pub(super) metrics: ConsumerMetrics,
}

impl Processor {
    /// A processor of one log. Consumers notice moves and pauses only while [`Processor::run`] runs.
    #[must_use]
    pub fn new(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        erased: Arc<Erased>,
        clock: Clock,
        drain: Duration,
    ) -> Self {
        let directory = Directory::new(Arc::clone(&store));
        Self {
            bus,
            store,
            erased,
            clock,
            directory,
            owner: Uuid::new_v4(),
            drain,
            running: TaskTracker::new(),
            policies: Mutex::default(),
            handled: Mutex::default(),
            metrics: ConsumerMetrics::default(),
        }
    }

    /// Follows the consumers in the store (pauses, resets, deletions) until cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        self.directory.run(cancel).await;
    }

    /// Announces that a consumer will run here. From now on its status is reported as if it ran.
    pub fn expect(&self, name: &str) {
        self.handled.lock().insert(name.to_owned());
    }

    /// Waits until no consumer runs here any more. The caller must have stopped all of them.
    pub async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }
}
