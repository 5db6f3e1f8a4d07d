//! One consumer at work in this process: from a message in hand to its verdict.
//!
//! Invariant: at most `concurrency` messages run at once, and at most twice as
//! many first deliveries are in hand. Nothing begins while the consumer is paused
//! or the process stops; what waits to begin then is given back: by a pause to the
//! store, where it counts no attempt. What was begun ends by itself or is cut off after the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ConsumerSpec;
use super::hand::{Hand, Origin, Ticket};
use super::handler::Outcome;
use super::run::run;
use super::series::Counts;
use super::settle::{Case, verdict};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::message::Record;
use crate::store::Store;
use crate::store::work::{Attempt, Totals, Verdict};

/// A consumer's work in this process.
pub(super) struct Line {
    pub spec: ConsumerSpec,
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub hand: Arc<Hand>,
    /// Places for first deliveries in hand.
    pub room: Arc<Semaphore>,
    /// Places for further attempts in hand.
    pub retry_room: Arc<Semaphore>,
    /// Places for attempts that run.
    turns: Semaphore,
    pub tally: Tally,
    /// What metrics show.
    counts: Arc<Counts>,
    /// Verdicts for the store.
    cases: mpsc::Sender<Case>,
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

/// Counts since they were last taken.
#[derive(Default)]
pub(super) struct Tally {
    processed: AtomicU64,
    failed: AtomicU64,
    redelivered: AtomicU64,
    expired: AtomicU64,
    busy_us: AtomicU64,
}

impl Tally {
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

/// How a message left the line.
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
pub(super) struct Given {
    pub message: Record,
    pub attempt: u32,
    pub attempts: Vec<Attempt>,
    pub doubtful: bool,
    pub origin: Origin,
}

impl Line {
    /// A line with room for its concurrency, and the verdicts it gives.
    pub(super) fn new(
        spec: ConsumerSpec,
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        stop: CancellationToken,
        counts: Arc<Counts>,
    ) -> (Self, mpsc::Receiver<Case>) {
        let places = spec.concurrency.max(1);
        let (cases, verdicts) = mpsc::channel(3 * places);
        let line = Self {
            counts,
            spec,
            bus,
            store,
            clock: Clock::system(),
            hand: Arc::default(),
            room: Arc::new(Semaphore::new(2 * places)),
            retry_room: Arc::new(Semaphore::new(places)),
            turns: Semaphore::new(places),
            tally: Tally::default(),
            cases,
            due: Notify::new(),
            paused: watch::Sender::new(true),
            tasks: TaskTracker::new(),
            stop,
            abort: CancellationToken::new(),
            ended: CancellationToken::new(),
            over: CancellationToken::new(),
        };
        (line, verdicts)
    }

    /// The consumer's name.
    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Pauses, or goes on.
    pub(super) fn pause(&self, pause: bool) {
        self.paused.send_if_modified(|paused| std::mem::replace(paused, pause) != pause);
    }

    /// Takes a message in hand and sees to it.
    pub(super) fn take(self: &Arc<Self>, given: Given, room: OwnedSemaphorePermit) {
        let Given { message, attempt, attempts, doubtful, origin } = given;
        let hold = self.hand.hold(message.seq, &origin);
        let ticket =
            Ticket { message, attempt, attempts, doubtful, origin, _room: room, _hold: hold };
        let line = Arc::clone(self);
        self.tasks.spawn(async move {
            let end = line.attempt(&ticket).await;
            line.end(ticket, end).await;
        });
    }

    /// A place to run in, unless the consumer stops or is paused before there is one.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, End> {
        if !self.stop.is_cancelled()
            && !*self.paused.borrow()
            && let Ok(turn) = self.turns.try_acquire()
        {
            return Ok(turn);
        }
        let mut paused = self.paused.subscribe();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(End::NotBegun),
            // The sender lives as long as the line.
            _ = paused.wait_for(|paused| *paused) => Err(End::Paused),
            turn = self.turns.acquire() => turn.map_err(|_| End::NotBegun),
        }
    }

    async fn attempt(&self, ticket: &Ticket) -> End {
        if ticket.doubtful {
            return End::Doubtful;
        }
        let turn = self.turn().await;
        if ticket.origin.is_stale() {
            return End::NotBegun;
        }
        let _turn = match turn {
            Ok(turn) => turn,
            Err(end) => return end,
        };
        if ticket.message.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return End::Expired;
        }
        let begun = Instant::now();
        let ran = run(&self.spec.handlers, &ticket.message, ticket.attempt);
        let outcome = self.abort.run_until_cancelled(ran).await;
        let busy = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.busy_us.fetch_add(busy, Ordering::Relaxed);
        outcome.map_or(End::CutOff, End::Ran)
    }

    /// Settles a message at once where the store need not know, else by way of it.
    async fn end(&self, ticket: Ticket, end: End) {
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let seq = ticket.message.seq;
        let begun = !matches!(end, End::NotBegun | End::Paused);
        let verdict = match end {
            End::Ran(outcome) => {
                let failed = outcome != Outcome::Done;
                if failed {
                    count(&self.tally.failed);
                    count(&self.counts.failed);
                } else {
                    count(&self.tally.processed);
                    count(&self.counts.processed);
                }
                let (now, chance) = (self.clock.now(), fastrand::f64());
                verdict(&self.spec.policy, ticket.attempt, outcome, now, chance)
            }
            End::Expired => {
                count(&self.tally.expired);
                count(&self.counts.expired);
                Verdict::Done
            }
            End::CutOff | End::Doubtful | End::Paused => Verdict::Returned,
            End::NotBegun => match ticket.origin {
                Origin::Lease(_) => Verdict::Returned,
                _ => return ticket.origin.give_back().await,
            },
        };
        if verdict == Verdict::Done && !matches!(ticket.origin, Origin::Lease(_)) {
            return ticket.origin.done(seq).await;
        }
        if begun && matches!(verdict, Verdict::Again { .. } | Verdict::Returned) {
            count(&self.tally.redelivered);
            count(&self.counts.set_aside);
        }
        if matches!(verdict, Verdict::Dead { .. }) {
            count(&self.counts.dead);
        }
        // The receiver lives as long as any attempt.
        let _ = self.cases.send(Case { ticket, verdict }).await;
    }
}
