//! How a server, and each consumer within it, stops: phases, tasks, signals.
//!
//! Invariant: the phases follow each other in one order and never go back. Every task has a name and is
//! tracked. If one ends before its phase, the process stops with failure, since a server without its
//! projector, for example, only seems to work.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A phase in the life of a server or a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work is accepted.
    Running,
    /// No work begins; work that has begun may finish within the drain time (`DRAIN_S`).
    Draining,
    /// Unfinished work is cut off. In a server, the writer, the projector and all other core tasks end.
    Aborting,
    /// Everything has ended. The store has the outcomes, unless it did not answer in time.
    Over,
}

/// The current phase of one server or consumer. Clones share it.
///
/// | from | to | when |
/// |---|---|---|
/// | running | draining | a signal, a failed task, or a caller's stop token |
/// | draining | aborting | all has finished, or the drain time is over |
/// | aborting | over | all tasks have ended |
///
/// A phase may be skipped; then tasks that wait for it are woken by the later phase.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    draining: CancellationToken,
    aborting: CancellationToken,
    over: CancellationToken,
}

impl Lifecycle {
    /// Starts in the phase `Running`. Cancelling `stop` begins the drain.
    #[must_use]
    pub fn stopped_by(stop: CancellationToken) -> Self {
        Self { draining: stop, aborting: CancellationToken::new(), over: CancellationToken::new() }
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.over.is_cancelled() {
            Phase::Over
        } else if self.aborting.is_cancelled() {
            Phase::Aborting
        } else if self.draining.is_cancelled() {
            Phase::Draining
        } else {
            Phase::Running
        }
    }

    /// Enters a phase, unless this phase or a later one has begun.
    pub fn enter(&self, phase: Phase) {
        let tokens = [
            (Phase::Draining, &self.draining),
            (Phase::Aborting, &self.aborting),
            (Phase::Over, &self.over),
        ];
        tokens.iter().filter(|(begun, _)| *begun <= phase).for_each(|(_, token)| token.cancel());
    }

    /// The token that is cancelled from [`Phase::Draining`] on.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// The token that is cancelled from [`Phase::Aborting`] on.
    #[must_use]
    pub fn aborting(&self) -> &CancellationToken {
        &self.aborting
    }

    /// The token that is cancelled from [`Phase::Over`] on.
    #[must_use]
    pub fn over(&self) -> &CancellationToken {
        &self.over
    }
}

/// The tasks of a process.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    lifecycle: Lifecycle,
    failure: Arc<Mutex<Option<String>>>,
}

impl Tasks {
    /// A set without tasks. The first task that fails begins the drain.
    #[must_use]
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self { tracker: TaskTracker::new(), lifecycle, failure: Arc::default() }
    }

    /// Runs a task, which must not end before `phase`.
    pub fn spawn(
        &self,
        name: &'static str,
        phase: Phase,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_fallible(name, phase, async move {
            task.await;
            Ok::<_, String>(())
        });
    }

    /// Like [`Tasks::spawn`], for a task that may return an error, which stops the process in any phase.
    pub fn spawn_fallible<E: Display>(
        &self,
        name: &'static str,
        phase: Phase,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let tasks = self.clone();
        let inner =
            self.tracker.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.tracker.spawn(async move {
            let fault = match inner.await {
                Ok(Ok(())) if tasks.lifecycle.phase() >= phase => return,
                Ok(Ok(())) => "ended by itself".to_owned(),
                Ok(Err(error)) => error,
                Err(panic) => panic.to_string(),
            };
            tasks.fail(&format!("{name}: {fault}"));
        });
    }

    fn fail(&self, reason: &str) {
        tracing::error!(reason, "stopping: a part of the server failed");
        self.failure.lock().get_or_insert_with(|| reason.to_owned());
        self.lifecycle.enter(Phase::Draining);
    }

    /// Waits until every task has ended.
    ///
    /// # Errors
    /// The first failure of a task.
    pub async fn ended(&self) -> Result<(), String> {
        self.tracker.close();
        self.tracker.wait().await;
        self.failure.lock().clone().map_or(Ok(()), Err)
    }
}

/// Waits for SIGINT or SIGTERM, and returns its name.
///
/// # Errors
/// The system refuses to install a signal handler.
pub async fn signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_go_on_and_never_back() {
        let stop = CancellationToken::new();
        let lifecycle = Lifecycle::stopped_by(stop.clone());
        assert_eq!(lifecycle.phase(), Phase::Running);
        stop.cancel();
        assert_eq!(lifecycle.phase(), Phase::Draining);
        for phase in [Phase::Aborting, Phase::Over] {
            lifecycle.enter(phase);
            lifecycle.enter(Phase::Running);
            lifecycle.enter(Phase::Draining);
            assert_eq!(lifecycle.phase(), phase);
        }
    }

    #[test]
    fn a_phase_that_is_skipped_has_begun_as_well() {
        let lifecycle = Lifecycle::stopped_by(CancellationToken::new());
        lifecycle.enter(Phase::Aborting);
        assert!(lifecycle.draining().is_cancelled() && lifecycle.aborting().is_cancelled());
        assert!(!lifecycle.over().is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_ends_before_its_phase_stops_the_process_with_failure() {
        for (phase, failed) in [(Phase::Draining, false), (Phase::Aborting, true)] {
            let lifecycle = Lifecycle::stopped_by(CancellationToken::new());
            let tasks = Tasks::new(lifecycle.clone());
            lifecycle.enter(Phase::Draining);
            tasks.spawn("part", phase, async {});
            let ended = tasks.ended().await;
            assert_eq!(
                ended,
                if failed { Err("part: ended by itself".to_owned()) } else { Ok(()) }
            );
        }
    }

    #[tokio::test]
    async fn an_error_or_a_panic_of_a_task_begins_the_drain() {
        let lifecycle = Lifecycle::stopped_by(CancellationToken::new());
        let tasks = Tasks::new(lifecycle.clone());
        tasks.spawn_fallible("writer", Phase::Aborting, async { Err("disk full") });
        lifecycle.draining().cancelled().await;
        tasks.spawn("reader", Phase::Aborting, async { panic!("a fault") });
        assert_eq!(tasks.ended().await, Err("writer: disk full".to_owned()), "the first failure");
    }
}
