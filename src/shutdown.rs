//! Tasks and their end.
//!
//! Invariant: no task is spawned and forgotten. Each has a name; one that ends
//! before it was told to stops the process with failure, since a server without
//! its projector only looks alive.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process's tasks.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    /// Cancelled when the process is to stop, for whatever reason.
    stop: CancellationToken,
    failure: Arc<Mutex<Option<String>>>,
}

impl Tasks {
    /// No tasks; `stop` is cancelled by the first that fails.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop, failure: Arc::default() }
    }

    /// Runs a task that may end only once `told` is cancelled.
    pub fn spawn<E: std::fmt::Display>(
        &self,
        name: &'static str,
        told: CancellationToken,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let tasks = self.clone();
        let inner =
            self.tracker.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.tracker.spawn(async move {
            let fault = match inner.await {
                Ok(Ok(())) if told.is_cancelled() => return,
                Ok(Ok(())) => "ended by itself".to_owned(),
                Ok(Err(error)) => error,
                Err(panic) => panic.to_string(),
            };
            tasks.fail(&format!("{name}: {fault}"));
        });
    }

    /// Stops the process with failure.
    pub fn fail(&self, reason: &str) {
        tracing::error!(reason, "stopping, because a part of the server failed");
        let mut failure = self.failure.lock();
        failure.get_or_insert_with(|| reason.to_owned());
        self.stop.cancel();
    }

    /// Waits until every task has ended; then says what failed, if anything.
    ///
    /// # Errors
    /// The first failure.
    pub async fn ended(&self) -> Result<(), String> {
        self.tracker.close();
        self.tracker.wait().await;
        let failure = self.failure.lock();
        failure.clone().map_or(Ok(()), Err)
    }
}

/// Waits for SIGINT or SIGTERM.
///
/// # Errors
/// When the system lets no handler be set.
pub async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}
