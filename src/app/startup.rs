//! What all steps of a start share, and how they wait for NATS and the database.

use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::continuity::Gate;
use crate::limits::{CORE_STOP, START_RETRY};
use crate::membership::{MembershipMonitor, MembershipStatus};
use crate::shutdown::{Lifecycle, Phase, Tasks};
use crate::store::{Lease, Membership, Store};

/// The start of one process.
pub(super) struct Startup {
    pub config: Config,
    pub clock: Clock,
    pub lifecycle: Lifecycle,
    pub tasks: Tasks,
    /// Why the server is not ready; responses contain it until the start is complete.
    pub reason: Arc<Mutex<String>>,
}

impl Startup {
    /// A start of a process that runs until `stop` is cancelled.
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

    /// Repeats `attempt` until it succeeds; logs each new reason of a failure.
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

    /// The token that ends the core tasks: the writer, the projector, and others that requests need until
    /// the last request has ended.
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

    /// Runs a core task that reads the log. It starts once the gate has opened for the first time.
    pub(super) fn spawn_reader(
        &self,
        name: &'static str,
        gate: &Gate,
        reader: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_core(name, after_first_check(gate.clone(), self.core(), reader));
    }

    /// Runs a task that gives messages to handlers, and so ends with the drain. It starts once the gate
    /// has opened for the first time.
    pub(super) fn spawn_processing(
        &self,
        name: &'static str,
        gate: &Gate,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.lifecycle.draining().clone();
        self.tasks.spawn(name, Phase::Draining, after_first_check(gate.clone(), stop, work));
    }

    /// Ends the core tasks and waits for them.
    pub(super) async fn end_core(&self) -> Result<(), String> {
        self.lifecycle.enter(Phase::Aborting);
        let ended = tokio::time::timeout(CORE_STOP, self.tasks.ended()).await;
        self.lifecycle.enter(Phase::Over);
        ended.unwrap_or_else(|_| Err("some parts did not stop in time".to_owned()))
    }

    /// Starts the task that checks regularly whether this server may still use its store, and fails when it may not.
    /// Returns the status that the task updates.
    pub(super) fn monitor_membership(
        &self,
        membership: Box<dyn Membership>,
        exclusive: Option<(Arc<dyn Store>, Lease)>,
    ) -> Arc<MembershipStatus> {
        let status = Arc::new(MembershipStatus::default());
        let monitor = MembershipMonitor { membership, exclusive, status: Arc::clone(&status) };
        self.tasks.spawn_fallible("membership", Phase::Aborting, monitor.run(self.core()));
        status
    }
}

async fn after_first_check(gate: Gate, cancel: CancellationToken, task: impl Future<Output = ()>) {
    if cancel.run_until_cancelled(gate.opened()).await.is_some() {
        task.await;
    }
}
