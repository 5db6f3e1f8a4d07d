//! Runs one consumer in this process: from receiving a message to the outcome of its attempt.
//!
//! Invariant: at most `concurrency` attempts run at the same time, and at most twice as many first deliveries
//! are in flight. Nothing begins while the consumer is paused or drains. A message that waits to begin then
//! is returned; in a pause it is returned to the store, which counts no attempt for it. An attempt that has
//! begun ends by itself, or is cancelled after the drain time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, watch};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::handler::Outcome;
use super::in_flight::{InFlight, InFlightMessage, Incoming, Origin};
use super::metrics::ConsumerCounters;
use super::outcome::{Settlement, attempt_outcome};
use super::run::run;
use super::spec::ConsumerSpec;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::erased::Erased;
use crate::limits::SETTLE_STOP;
use crate::shutdown::{Lifecycle, Phase};
use crate::store::Store;
use crate::store::work::{AttemptOutcome, Totals};

/// One consumer's work in this process.
pub(super) struct ConsumerRuntime {
    pub spec: ConsumerSpec,
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn Store>,
    erased: Arc<Erased>,
    pub clock: Clock,
    pub lifecycle: Lifecycle,
    pub in_flight: Arc<InFlight>,
    /// Permits for first deliveries in flight.
    pub permits: Arc<Semaphore>,
    /// Permits for retries in flight, from lease to settlement.
    pub retry_permits: Arc<Semaphore>,
    /// Permits for attempts that run now, first or further.
    run_permits: Semaphore,
    pub totals: TotalsDelta,
    counters: Arc<ConsumerCounters>,
    settlements: mpsc::Sender<Settlement>,
    /// Notified when this process has set a message aside.
    pub due: Notify,
    /// Whether nothing may begin. True until the store has reported whether the consumer is paused.
    pub paused: watch::Sender<bool>,
    /// Tracks the tasks of messages in flight.
    pub tasks: TaskTracker,
}

/// Counts since the last update of the store's totals.
#[derive(Default)]
pub(super) struct TotalsDelta {
    processed: AtomicU64,
    failed: AtomicU64,
    redelivered: AtomicU64,
    expired: AtomicU64,
    busy_us: AtomicU64,
}

impl TotalsDelta {
    /// Returns the counts and resets them to zero.
    pub(super) fn take(&self) -> Totals {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Totals {
            processed: take(&self.processed),
            failed: take(&self.failed),
            redelivered: take(&self.redelivered),
            expired: take(&self.expired),
            busy_us: take(&self.busy_us),
        }
    }

    /// Adds back counts that could not be stored.
    pub(super) fn put_back(&self, totals: &Totals) {
        let add = |count: &AtomicU64, more| count.fetch_add(more, Ordering::Relaxed);
        add(&self.processed, totals.processed);
        add(&self.failed, totals.failed);
        add(&self.redelivered, totals.redelivered);
        add(&self.expired, totals.expired);
        add(&self.busy_us, totals.busy_us);
    }
}

/// How an attempt ended, or why it did not begin.
enum End {
    /// The handlers returned this outcome.
    Ran(Outcome),
    /// It was cancelled after the drain time.
    CutOff,
    /// It did not begin: the consumer drains or was moved.
    NotBegun,
    /// It did not begin, because the consumer is paused. The store keeps the message meanwhile.
    Paused,
    /// The message had expired before it began.
    Expired,
    /// Another process may have run the message. From now on the store counts its attempts.
    Doubtful,
}

impl ConsumerRuntime {
    /// A runtime with permits for its concurrency, and the channel of the settlements that it produces.
    pub(super) fn new(
        spec: ConsumerSpec,
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        erased: Arc<Erased>,
        clock: Clock,
        lifecycle: Lifecycle,
        counters: Arc<ConsumerCounters>,
    ) -> (Self, mpsc::Receiver<Settlement>) {
        let concurrency = spec.concurrency.max(1);
        // Large enough for all messages in flight, so that no attempt waits for the store.
        let (settlements, received) = mpsc::channel(3 * concurrency);
        let runtime = Self {
            spec,
            bus,
            store,
            erased,
            clock,
            lifecycle,
            in_flight: Arc::default(),
            permits: Arc::new(Semaphore::new(2 * concurrency)),
            retry_permits: Arc::new(Semaphore::new(concurrency)),
            run_permits: Semaphore::new(concurrency),
            totals: TotalsDelta::default(),
            counters,
            settlements,
            due: Notify::new(),
            paused: watch::Sender::new(true),
            tasks: TaskTracker::new(),
        };
        (runtime, received)
    }

    /// The consumer's name.
    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Pauses the consumer, or resumes it.
    pub(super) fn pause(&self, pause: bool) {
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
    }

    /// Runs an attempt at a message and settles it, in its own task.
    pub(super) fn dispatch(self: &Arc<Self>, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let message = self.in_flight.add(incoming, permit);
        let runtime = Arc::clone(self);
        self.tasks.spawn(async move {
            let end = runtime.attempt(&message).await;
            runtime.end(message, end).await;
        });
    }

    /// Waits for a permit to run. `Err` if the consumer drains or is paused before there is one.
    async fn run_permit(&self) -> Result<SemaphorePermit<'_>, End> {
        let draining = self.lifecycle.draining();
        if !draining.is_cancelled()
            && !*self.paused.borrow()
            && let Ok(permit) = self.run_permits.try_acquire()
        {
            return Ok(permit);
        }
        let mut paused = self.paused.subscribe();
        tokio::select! {
            biased;
            () = draining.cancelled() => Err(End::NotBegun),
            // Cannot fail: the sender lives as long as the runtime.
            _ = paused.wait_for(|paused| *paused) => Err(End::Paused),
            permit = self.run_permits.acquire() => permit.map_err(|_| End::NotBegun),
        }
    }

    async fn attempt(&self, message: &InFlightMessage) -> End {
        if message.is_doubtful {
            return End::Doubtful;
        }
        let permit = self.run_permit().await;
        if message.origin.is_superseded() {
            return End::NotBegun;
        }
        let _permit = match permit {
            Ok(permit) => permit,
            Err(end) => return end,
        };
        if message.record.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return End::Expired;
        }
        let begun = Instant::now();
        let attempt = message.attempt;
        let seq = message.record.seq;
        let span = tracing::debug_span!("attempt", consumer = self.spec.name, seq, attempt);
        // It may have waited in memory since before it was erased.
        let erased = self.erased.contains(seq).then(|| message.record.clone().erased());
        let record = erased.as_ref().unwrap_or(&message.record);
        let ran = run(&self.spec.handlers, record, attempt).instrument(span);
        let outcome = self.lifecycle.aborting().run_until_cancelled(ran).await;
        let busy = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.totals.busy_us.fetch_add(busy, Ordering::Relaxed);
        outcome.map_or(End::CutOff, End::Ran)
    }

    /// Settles a message: at once if the store need not know, else by sending a settlement to record.
    async fn end(&self, message: InFlightMessage, end: End) {
        let count = |counters: &[&AtomicU64]| {
            counters.iter().for_each(|counter| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
        };
        let (totals, counters) = (&self.totals, &self.counters);
        let is_leased = matches!(message.origin, Origin::Lease(_));
        let has_begun = !matches!(end, End::NotBegun | End::Paused);
        let outcome = match end {
            End::Ran(outcome) => {
                match outcome {
                    Outcome::Done => count(&[&totals.processed, &counters.processed]),
                    _ => count(&[&totals.failed, &counters.failed]),
                }
                let (now, chance) = (self.clock.now(), fastrand::f64());
                attempt_outcome(&self.spec.policy, message.attempt, outcome, now, chance)
            }
            End::Expired => {
                count(&[&totals.expired, &counters.expired]);
                AttemptOutcome::Done
            }
            End::NotBegun if !is_leased => return message.origin.nack().await,
            End::NotBegun | End::CutOff | End::Doubtful | End::Paused => AttemptOutcome::Released,
        };
        match outcome {
            AttemptOutcome::Done if !is_leased => return message.done().await,
            AttemptOutcome::Done => {}
            AttemptOutcome::Retry { .. } | AttemptOutcome::Released if has_begun => {
                count(&[&totals.redelivered, &counters.set_aside]);
            }
            AttemptOutcome::Retry { .. } | AttemptOutcome::Released => {}
            AttemptOutcome::Dead { .. } => count(&[&counters.dead]),
        }
        // Cannot fail: the receiver lives until every message in flight has ended.
        let _ = self.settlements.send(Settlement { message, outcome }).await;
    }

    /// After the stop: waits up to `drain` for the attempts that have begun and cancels the others; then
    /// waits for `settled`, at most [`SETTLE_STOP`].
    pub(super) async fn drain(&self, drain: Duration, settled: impl Future<Output = ()>) {
        self.lifecycle.draining().cancelled().await;
        self.tasks.close();
        if tokio::time::timeout(drain, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                consumer = self.name(),
                "handlers did not end within the drain time (DRAIN_S) and are cut off"
            );
            self.lifecycle.enter(Phase::Aborting);
            self.tasks.wait().await;
        }
        if tokio::time::timeout(SETTLE_STOP, settled).await.is_err() {
            tracing::warn!(
                consumer = self.name(),
                "the store did not record some outcomes in time: their messages are delivered again"
            );
        }
        if let Some(durables) = self.bus.durable_consumers() {
            durables.acker().flush().await;
        }
        self.lifecycle.enter(Phase::Over);
    }
}
