//! One consumer at work in this process: from a message in in_flight to its verdict.
//!
//! Invariant: at most `concurrency` messages run at once, and at most twice as
//! many first deliveries are in in_flight. Nothing begins while the consumer is paused
//! or the process stops; what waits to begin then is given back: by a pause to the
//! store, where it counts no attempt. What was begun ends by itself or is cut off after the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ConsumerSpec;
use super::handler::Outcome;
use super::in_flight::{InFlight, InFlightMessage, Origin};
use super::metrics::ConsumerCounters;
use super::run::run;
use super::settle::{Settlement, verdict};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::message::Record;
use crate::store::Store;
use crate::store::work::{Attempt, AttemptOutcome, Totals};

/// A consumer's work in this process.
pub(super) struct ConsumerRuntime {
    pub spec: ConsumerSpec,
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub in_flight: Arc<InFlight>,
    /// Places for first deliveries in in_flight.
    pub permits: Arc<Semaphore>,
    /// Places for further attempts in in_flight.
    pub retry_permits: Arc<Semaphore>,
    /// Places for attempts that run.
    run_permits: Semaphore,
    pub totals: TotalsDelta,
    /// What metrics show.
    counts: Arc<ConsumerCounters>,
    /// Verdicts for the store.
    settlements: mpsc::Sender<Settlement>,
    /// Something was set aside here.
    pub due: Notify,
    /// Whether nothing is to begin: at first, since the store has not yet said whether the consumer is paused.
    pub paused: watch::Sender<bool>,
    /// Attempts begun and not ended.
    pub tasks: TaskTracker,
    /// Nothing new.
    pub stop: CancellationToken,
    /// Nothing at all.
    pub abort: CancellationToken,
    /// Every attempt has ended.
    pub ended: CancellationToken,
    /// And is settled.
    pub over: CancellationToken,
}

/// ConsumerCounters since they were last taken.
#[derive(Default)]
pub(super) struct TotalsDelta {
    processed: AtomicU64,
    failed: AtomicU64,
    redelivered: AtomicU64,
    expired: AtomicU64,
    busy_us: AtomicU64,
}

impl TotalsDelta {
    /// Takes what was counted.
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

    /// Gives back what could not be told.
    pub(super) fn put_back(&self, totals: &Totals) {
        let add = |count: &AtomicU64, more| {
            count.fetch_add(more, Ordering::Relaxed);
        };
        add(&self.processed, totals.processed);
        add(&self.failed, totals.failed);
        add(&self.redelivered, totals.redelivered);
        add(&self.expired, totals.expired);
        add(&self.busy_us, totals.busy_us);
    }
}

/// How a message left the runtime.
enum End {
    /// An attempt ended by itself.
    Ran(Outcome),
    /// An attempt was cut off.
    CutOff,
    /// It was never begun.
    NotBegun,
    /// It was not begun since the consumer is paused: the store has it meanwhile.
    Paused,
    /// It had expired.
    Expired,
    /// It may have been run elsewhere: the store counts from here on.
    Doubtful,
}

/// A message as a source gives it.
pub(super) struct Incoming {
    pub message: Record,
    pub attempt: u32,
    pub attempts: Vec<Attempt>,
    pub doubtful: bool,
    pub origin: Origin,
}

impl ConsumerRuntime {
    /// A runtime with permits for its concurrency, and the verdicts it gives.
    pub(super) fn new(
        spec: ConsumerSpec,
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        stop: CancellationToken,
        counts: Arc<ConsumerCounters>,
    ) -> (Self, mpsc::Receiver<Settlement>) {
        let places = spec.concurrency.max(1);
        let (settlements, verdicts) = mpsc::channel(3 * places);
        let runtime = Self {
            counts,
            spec,
            bus,
            store,
            clock: Clock::system(),
            in_flight: Arc::default(),
            permits: Arc::new(Semaphore::new(2 * places)),
            retry_permits: Arc::new(Semaphore::new(places)),
            run_permits: Semaphore::new(places),
            totals: TotalsDelta::default(),
            settlements,
            due: Notify::new(),
            paused: watch::Sender::new(true),
            tasks: TaskTracker::new(),
            stop,
            abort: CancellationToken::new(),
            ended: CancellationToken::new(),
            over: CancellationToken::new(),
        };
        (runtime, verdicts)
    }

    /// The consumer's name.
    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Pauses, or goes on.
    pub(super) fn pause(&self, pause: bool) {
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
    }

    /// Takes a message in in_flight and sees to it.
    pub(super) fn take(self: &Arc<Self>, given: Incoming, permits: OwnedSemaphorePermit) {
        let Incoming { message, attempt, attempts, doubtful, origin } = given;
        let hold = self.in_flight.hold(message.seq, &origin);
        let in_flight = InFlightMessage {
            message,
            attempt,
            attempts,
            doubtful,
            origin,
            _room: permits,
            _hold: hold,
        };
        let runtime = Arc::clone(self);
        self.tasks.spawn(async move {
            let end = runtime.attempt(&in_flight).await;
            runtime.end(in_flight, end).await;
        });
    }

    /// A place to run in, unless the consumer stops or is paused before there is one.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, End> {
        if !self.stop.is_cancelled()
            && !*self.paused.borrow()
            && let Ok(turn) = self.run_permits.try_acquire()
        {
            return Ok(turn);
        }
        let mut paused = self.paused.subscribe();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(End::NotBegun),
            // The sender lives as long as the runtime.
            _ = paused.wait_for(|paused| *paused) => Err(End::Paused),
            turn = self.run_permits.acquire() => turn.map_err(|_| End::NotBegun),
        }
    }

    async fn attempt(&self, in_flight: &InFlightMessage) -> End {
        if in_flight.doubtful {
            return End::Doubtful;
        }
        let turn = self.turn().await;
        if in_flight.origin.is_stale() {
            return End::NotBegun;
        }
        let _turn = match turn {
            Ok(turn) => turn,
            Err(end) => return end,
        };
        if in_flight.message.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return End::Expired;
        }
        let begun = Instant::now();
        let ran = run(&self.spec.handlers, &in_flight.message, in_flight.attempt);
        let outcome = self.abort.run_until_cancelled(ran).await;
        let busy = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.totals.busy_us.fetch_add(busy, Ordering::Relaxed);
        outcome.map_or(End::CutOff, End::Ran)
    }

    /// Settles a message at once where the store need not know, else by way of it.
    async fn end(&self, in_flight: InFlightMessage, end: End) {
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let seq = in_flight.message.seq;
        let begun = !matches!(end, End::NotBegun | End::Paused);
        let verdict = match end {
            End::Ran(outcome) => {
                let failed = outcome != Outcome::Done;
                if failed {
                    count(&self.totals.failed);
                    count(&self.counts.failed);
                } else {
                    count(&self.totals.processed);
                    count(&self.counts.processed);
                }
                let (now, chance) = (self.clock.now(), fastrand::f64());
                verdict(&self.spec.policy, in_flight.attempt, outcome, now, chance)
            }
            End::Expired => {
                count(&self.totals.expired);
                count(&self.counts.expired);
                AttemptOutcome::Done
            }
            End::CutOff | End::Doubtful | End::Paused => AttemptOutcome::Released,
            End::NotBegun => match in_flight.origin {
                Origin::Lease(_) => AttemptOutcome::Released,
                _ => return in_flight.origin.give_back().await,
            },
        };
        if verdict == AttemptOutcome::Done && !matches!(in_flight.origin, Origin::Lease(_)) {
            return in_flight.origin.done(seq).await;
        }
        if begun && matches!(verdict, AttemptOutcome::Retry { .. } | AttemptOutcome::Released) {
            count(&self.totals.redelivered);
            count(&self.counts.set_aside);
        }
        if matches!(verdict, AttemptOutcome::Dead { .. }) {
            count(&self.counts.dead);
        }
        // The receiver lives as long as any attempt.
        let _ = self.settlements.send(Settlement { in_flight, verdict }).await;
    }
}
