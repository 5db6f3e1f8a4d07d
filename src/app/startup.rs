//! What every step of a start shares, and how it waits for what is not there yet.

use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::continuity::Gate;
use crate::limits::START_RETRY;
use crate::shutdown::{Lifecycle, Phase, Tasks};

/// The start of one process.
pub(super) struct Startup {
    pub config: Config,
    pub clock: Clock,
    pub lifecycle: Lifecycle,
    pub tasks: Tasks,
    /// Why the server is not ready, for the page served meanwhile.
    pub reason: Arc<Mutex<String>>,
}

impl Startup {
    /// A start that ends when `stop` is cancelled.
    pub(super) fn new(config: Config, stop: CancellationToken) -> Self {
        let lifecycle = Lifecycle::stopped_by(stop);
        Self {
            config,
            clock: Clock::system(),
            tasks: Tasks::new(lifecycle.clone()),
            lifecycle,
            reason: Arc::new(Mutex::new("the server is starting".to_owned())),
        }
    }

    /// Repeats `attempt` until it succeeds; logs each new reason why it does not.
    pub(super) async fn until<T, E: Display>(
        &self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> T {
        loop {
            let error = match attempt().await {
                Ok(value) => return value,
                Err(error) => format!("waiting for {what}: {error}"),
            };
            let is_new = *self.reason.lock() != error;
            if is_new {
                tracing::warn!("{error}");
                *self.reason.lock() = error;
            }
            tokio::time::sleep(START_RETRY).await;
        }
    }

    /// The token that ends the core tasks: writer, projector and whatever else serves requests until the last has
    /// ended.
    pub(super) fn core(&self) -> CancellationToken {
        self.lifecycle.aborting().clone()
    }

    /// Runs a core task.
    pub(super) fn spawn_core(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(name, Phase::Aborting, task);
    }

    /// Runs a core task that reads the log: once the log is known to continue the store.
    pub(super) fn spawn_reader(
        &self,
        name: &'static str,
        gate: &Gate,
        reader: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_core(name, after_first_check(gate.clone(), self.core(), reader));
    }

    /// Runs a task that gives messages to handlers, and so ends with the drain: once the log is known to
    /// continue the store.
    pub(super) fn spawn_processing(
        &self,
        name: &'static str,
        gate: &Gate,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.lifecycle.draining().clone();
        self.tasks.spawn(name, Phase::Draining, after_first_check(gate.clone(), stop, work));
    }
}

async fn after_first_check(gate: Gate, cancel: CancellationToken, task: impl Future<Output = ()>) {
    if cancel.run_until_cancelled(gate.opened()).await.is_some() {
        task.await;
    }
}
