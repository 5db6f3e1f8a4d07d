//! Batcher commit: calls that wait at the same time go as one atomic batch.
//!
//! One task holds the [`Line`] of calls and sends the batches; a call that goes alone is told to
//! send its messages itself. Invariant: each call is told exactly once, however its batch ends and whoever
//! else has gone; nothing waits here unless something of it is on the way, or is about to end. The task ends
//! with the [`Batcher`], and calls learn that then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, Fuse, FutureExt as _};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::batch::{self, BatchMessage, BatchOutcome};
use super::batch_queue::{BatchQueue, Queued, Step};
use super::outcome::{Failure, Outcome};
use super::pacer::Pacer;
use crate::bus::Ack;
use crate::bus::nats::requester::Requester;
use crate::limits::NATS_MAX_IN_FLIGHT;

/// The way to the task.
pub(super) struct Batcher {
    /// Whether the stream takes atomic batches.
    pub allowed: AtomicBool,
    calls: mpsc::Sender<Call>,
    _task: AbortOnDropHandle<()>,
}

/// The messages of one call.
pub(super) struct Call {
    pub messages: Vec<BatchMessage>,
    pub bytes: usize,
    pub ids: Vec<u128>,
    pub tell: oneshot::Sender<Reply>,
}

/// What a call is told.
pub(super) enum Reply {
    /// Send the messages yourself, and keep this until that is over. With `again`, they may have been
    /// tried before: what is a duplicate then is one of ourselves.
    Alone { again: bool, out: Out },
    /// What became of them.
    Settled(Vec<Outcome>),
}

impl Queued for Call {
    fn messages(&self) -> usize {
        self.messages.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn ids(&self) -> &[u128] {
        &self.ids
    }

    fn is_gone(&self) -> bool {
        self.tell.is_closed()
    }
}

/// Messages that are sent alone. Dropped, they are not on the way any more.
pub(super) struct Out {
    alone: Arc<Alone>,
    count: usize,
}

#[derive(Default)]
struct Alone {
    count: AtomicUsize,
    ended: Notify,
}

impl Out {
    fn new(alone: &Arc<Alone>, count: usize) -> Self {
        alone.count.fetch_add(count, Ordering::Relaxed);
        Self { alone: alone.clone(), count }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.alone.count.fetch_sub(self.count, Ordering::Relaxed);
        self.alone.ended.notify_one();
    }
}

impl Batcher {
    pub(super) fn start(requester: Arc<Requester>, stream: &str, pacer: Arc<Pacer>) -> Self {
        // Each call holds a permit for each of its messages.
        let (calls, arriving) = mpsc::channel(NATS_MAX_IN_FLIGHT);
        let task = Task {
            requester,
            stream: stream.into(),
            pacer,
            arriving,
            queue: BatchQueue::new(),
            alone: Arc::default(),
            batch: Fuse::terminated(),
            name: fastrand::u64(..),
            made: 0,
            landed: Instant::now(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run()));
        Self { allowed: AtomicBool::new(false), calls, _task: task }
    }

    /// Lets a call wait; it is told.
    pub(super) async fn join(&self, call: Call) {
        // The task has ended: the call learns that nobody tells it anything.
        let _ = self.calls.send(call).await;
    }
}

struct Task {
    requester: Arc<Requester>,
    stream: Arc<str>,
    pacer: Arc<Pacer>,
    arriving: mpsc::Receiver<Call>,
    queue: BatchQueue<Call>,
    alone: Arc<Alone>,
    /// The one on the way.
    batch: Fuse<BoxFuture<'static, Landed>>,
    /// Batches of servers and of runs must not have the same ids.
    name: u64,
    made: u64,
    /// When the last batch was stored.
    landed: Instant,
}

/// A batch that is over.
struct Landed {
    calls: Vec<Waiting>,
    sent: Instant,
    verdict: BatchOutcome,
}

/// A call whose messages are in a batch.
struct Waiting {
    count: usize,
    tell: oneshot::Sender<Reply>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let until = self.go_on();
            tokio::select! {
                () = sleep_until(until) => {}
                call = self.arriving.recv() => match call {
                    Some(call) => self.queue.push(call),
                    None => return,
                },
                landed = &mut self.batch => self.settle(landed),
                () = self.alone.ended.notified() => {}
            }
            while let Ok(call) = self.arriving.try_recv() {
                self.queue.push(call);
            }
        }
    }

    /// Starts all that can be started, and says when more can be.
    fn go_on(&mut self) -> Option<Instant> {
        if !self.pacer.together() {
            let calls: Vec<Call> = self.queue.drain().collect();
            calls.into_iter().for_each(|call| self.let_go(call));
            return None;
        }
        loop {
            let look = self.pacer.look_due();
            let now = Instant::now().into_std();
            match self.queue.next(self.alone.count.load(Ordering::Relaxed), look, now) {
                Step::Together(calls) => self.send(calls),
                Step::Alone(call) => self.let_go(call),
                Step::Wait => return None,
                Step::Until(until) => return Some(until.into()),
            }
        }
    }

    fn let_go(&self, call: Call) {
        let out = Out::new(&self.alone, call.messages.len());
        let _ = call.tell.send(Reply::Alone { again: false, out });
    }

    fn send(&mut self, calls: Vec<Call>) {
        self.made += 1;
        let id = format!("{:016x}-{}", self.name, self.made);
        let mut messages = Vec::new();
        let mut waiting = Vec::with_capacity(calls.len());
        for call in calls {
            waiting.push(Waiting { count: call.messages.len(), tell: call.tell });
            messages.extend(call.messages);
        }
        self.pacer.batch_sent(self.queue.present());
        let (requester, stream) = (self.requester.clone(), self.stream.clone());
        let batch = async move {
            let sent = Instant::now();
            let verdict = batch::publish(&requester, &stream, &id, messages).await;
            Landed { calls: waiting, sent, verdict }
        };
        self.batch = batch.boxed().fuse();
    }

    fn settle(&mut self, Landed { calls, sent, verdict }: Landed) {
        self.queue.landed(Instant::now().into_std());
        let count: usize = calls.iter().map(|call| call.count).sum();
        let result = match verdict {
            BatchOutcome::Stored(last) => {
                let now = Instant::now();
                self.pacer
                    .batch_stored(count, now.saturating_duration_since(sent.max(self.landed)));
                self.landed = now;
                stored(calls, last + 1 - count as u64);
                metrics::counter!("agentbus_publish_batched_total").increment(count as u64);
                "stored"
            }
            BatchOutcome::Refused => {
                self.pacer.batch_refused();
                self.let_all_go(calls);
                "refused"
            }
            BatchOutcome::NotTaken(why) => {
                tracing::info!(stream = &*self.stream, why, "an atomic batch was not taken");
                self.pacer.batch_failed();
                self.let_all_go(calls);
                "refused"
            }
            BatchOutcome::NotSent => {
                self.pacer.batch_lost();
                self.let_all_go(calls);
                "not_sent"
            }
            BatchOutcome::Unknown(failure) => {
                match failure.silent {
                    true => self.pacer.batch_lost(),
                    false => self.pacer.batch_failed(),
                }
                for call in calls {
                    let outcomes = vec![Err(failure.clone()); call.count];
                    let _ = call.tell.send(Reply::Settled(outcomes));
                }
                "unknown"
            }
        };
        metrics::counter!("agentbus_publish_batches_total", "result" => result).increment(1);
    }

    fn let_all_go(&self, calls: Vec<Waiting>) {
        for Waiting { count, tell } in calls {
            let out = Out::new(&self.alone, count);
            let _ = tell.send(Reply::Alone { again: true, out });
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn stored(calls: Vec<Waiting>, first: u64) {
    let mut seqs = first..;
    for call in calls {
        let outcomes = seqs.by_ref().take(call.count);
        let outcomes = outcomes.map(|seq| Ok(Ack { seq, duplicate: false, committed: false }));
        let _ = call.tell.send(Reply::Settled(outcomes.collect()));
    }
}

/// What a call is told that nobody told anything.
pub(super) fn stopped() -> Failure {
    Failure::unknown("the publisher has ended")
}
