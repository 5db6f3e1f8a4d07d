//! Group commit: calls that wait at the same time are sent as one atomic batch.
//!
//! One task owns the [`BatchQueue`] and sends the batches. A call that does not become part of a batch gets
//! [`CallOutcome::SendSingly`]: its caller sends the messages itself. Invariant: each call gets exactly one
//! outcome, however its batch ends and even if other callers have given up. The task ends with the
//! [`Batcher`]; the outcome channels of waiting calls then close.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, Fuse, FutureExt as _};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::batch::{self, BatchMessage, BatchOutcome};
use super::batch_queue::{BatchQueue, Queued, Step};
use super::outcome::Outcome;
use crate::bus::Ack;
use crate::bus::nats::requester::Requester;
use crate::limits::NATS_MAX_IN_FLIGHT;

/// Passes calls to the task that batches them.
pub(super) struct Batcher {
    calls: mpsc::Sender<Call>,
    takes_batches: Arc<AtomicBool>,
    #[cfg(test)]
    singles: Arc<Singles>,
    _task: AbortOnDropHandle<()>,
}

/// The messages of one publish call.
pub(super) struct Call {
    pub messages: Vec<BatchMessage>,
    pub bytes: usize,
    pub ids: Vec<u128>,
    pub outcome: oneshot::Sender<CallOutcome>,
}

/// The outcome of a call.
pub(super) enum CallOutcome {
    /// The caller must send the messages one by one, and keep the guard until that has ended. `resend` says
    /// that a batch with these messages was sent before: if an id that agentbus made is a duplicate, it
    /// repeats that batch.
    SendSingly { resend: bool, guard: SinglesInFlight },
    /// The outcomes of the messages, in order.
    Done(Vec<Outcome>),
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

    fn is_abandoned(&self) -> bool {
        self.outcome.is_closed()
    }
}

/// Counts messages that a caller sends one by one, as in flight until this is dropped.
pub(super) struct SinglesInFlight {
    singles: Arc<Singles>,
    count: usize,
}

#[derive(Default)]
struct Singles {
    in_flight: AtomicUsize,
    ended: Notify,
}

impl Drop for SinglesInFlight {
    fn drop(&mut self) {
        self.singles.in_flight.fetch_sub(self.count, Ordering::Relaxed);
        self.singles.ended.notify_one();
    }
}

impl Batcher {
    /// Starts the task. `takes_batches` says whether the stream's configuration, when it was last read,
    /// allows atomic batches. When a batch is refused, the task sets it to false, and sends no batch until
    /// the configuration was read again.
    pub(super) fn start(
        requester: Arc<Requester>,
        stream: &str,
        takes_batches: Arc<AtomicBool>,
    ) -> Self {
        // The channel needs no more: each call holds at least one permit of the messages in flight.
        let (calls, arriving) = mpsc::channel(NATS_MAX_IN_FLIGHT);
        let singles = Arc::new(Singles::default());
        let task = Task {
            requester,
            stream: stream.into(),
            takes_batches: takes_batches.clone(),
            arriving,
            queue: BatchQueue::new(),
            singles: Arc::clone(&singles),
            batch: Fuse::terminated(),
            run_id: fastrand::u64(..),
            batches: 0,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run()));
        Self {
            calls,
            takes_batches,
            #[cfg(test)]
            singles,
            _task: task,
        }
    }

    /// Whether the stream takes batches now.
    pub(super) fn is_usable(&self) -> bool {
        self.takes_batches.load(Ordering::Relaxed)
    }

    /// Queues a call. If the task has ended, the call's outcome channel closes.
    pub(super) async fn push(&self, call: Call) {
        let _ = self.calls.send(call).await;
    }

    #[cfg(test)]
    pub(super) fn singles_in_flight(&self) -> usize {
        self.singles.in_flight.load(Ordering::Relaxed)
    }
}

struct Task {
    requester: Arc<Requester>,
    stream: Arc<str>,
    takes_batches: Arc<AtomicBool>,
    arriving: mpsc::Receiver<Call>,
    queue: BatchQueue<Call>,
    singles: Arc<Singles>,
    /// The batch in flight.
    batch: Fuse<BoxFuture<'static, EndedBatch>>,
    /// Distinguishes the batch ids of different servers and runs.
    run_id: u64,
    batches: u64,
}

struct EndedBatch {
    calls: Vec<BatchedCall>,
    outcome: BatchOutcome,
}

/// A call whose messages are in a batch.
struct BatchedCall {
    count: usize,
    outcome: oneshot::Sender<CallOutcome>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let until = self.send_what_is_due();
            tokio::select! {
                () = sleep_until(until) => {}
                call = self.arriving.recv() => match call {
                    Some(call) => self.queue.push(call),
                    None => return,
                },
                ended = &mut self.batch => self.settle(ended),
                () = self.singles.ended.notified() => {}
            }
            while let Ok(call) = self.arriving.try_recv() {
                self.queue.push(call);
            }
        }
    }

    /// Sends everything that is due. Returns when to send next, if that depends on time.
    fn send_what_is_due(&mut self) -> Option<Instant> {
        if !self.takes_batches.load(Ordering::Relaxed) {
            self.release_queue();
            return None;
        }
        loop {
            let singles = self.singles.in_flight.load(Ordering::Relaxed);
            match self.queue.next(singles, Instant::now().into_std()) {
                Step::Batch(calls) => self.send(calls),
                Step::Single(call) => self.send_singly(call.messages.len(), false, call.outcome),
                Step::Wait => return None,
                Step::WaitUntil(until) => return Some(until.into()),
            }
        }
    }

    /// Makes the callers of all queued calls send their messages themselves.
    fn release_queue(&mut self) {
        let calls: Vec<Call> = self.queue.drain().collect();
        for call in calls {
            self.send_singly(call.messages.len(), false, call.outcome);
        }
    }

    fn send_singly(&self, count: usize, resend: bool, outcome: oneshot::Sender<CallOutcome>) {
        self.singles.in_flight.fetch_add(count, Ordering::Relaxed);
        let guard = SinglesInFlight { singles: self.singles.clone(), count };
        let _ = outcome.send(CallOutcome::SendSingly { resend, guard });
    }

    fn send(&mut self, calls: Vec<Call>) {
        self.batches += 1;
        let id = format!("{:016x}-{}", self.run_id, self.batches);
        let mut messages = Vec::new();
        let mut batched = Vec::with_capacity(calls.len());
        for call in calls {
            batched.push(BatchedCall { count: call.messages.len(), outcome: call.outcome });
            messages.extend(call.messages);
        }
        let (requester, stream) = (self.requester.clone(), self.stream.clone());
        let batch = async move {
            let outcome = batch::publish(&requester, &stream, &id, messages).await;
            EndedBatch { calls: batched, outcome }
        };
        self.batch = batch.boxed().fuse();
    }

    fn settle(&mut self, EndedBatch { calls, outcome }: EndedBatch) {
        self.queue.batch_ended(Instant::now().into_std());
        let result = match outcome {
            BatchOutcome::Stored(last) => {
                report_stored(calls, last);
                "stored"
            }
            BatchOutcome::MessageRefused => {
                self.resend_singly(calls);
                "refused"
            }
            BatchOutcome::BatchRefused(reason) => {
                tracing::warn!(
                    stream = &*self.stream,
                    reason,
                    "the stream refused an atomic batch: publishes go by themselves until it takes batches again"
                );
                self.takes_batches.store(false, Ordering::Relaxed);
                self.resend_singly(calls);
                "refused"
            }
            BatchOutcome::NotSent => {
                self.release_queue();
                self.resend_singly(calls);
                "not_sent"
            }
            BatchOutcome::Unknown(failure) => {
                if failure.unanswered {
                    // The waiting calls send their messages singly: the next batch would probably time out too, and
                    // they would have waited for two timeouts.
                    self.release_queue();
                } else {
                    self.takes_batches.store(false, Ordering::Relaxed);
                }
                for call in calls {
                    let outcomes = vec![Err(failure.clone()); call.count];
                    let _ = call.outcome.send(CallOutcome::Done(outcomes));
                }
                "unknown"
            }
        };
        metrics::counter!("agentbus_publish_batches_total", "result" => result).increment(1);
    }

    fn resend_singly(&self, calls: Vec<BatchedCall>) {
        for call in calls {
            self.send_singly(call.count, true, call.outcome);
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Reports the sequences of a batch that was stored; `last` is that of its last message.
fn report_stored(calls: Vec<BatchedCall>, last: u64) {
    let count: usize = calls.iter().map(|call| call.count).sum();
    let mut seqs = (last + 1 - count as u64)..;
    for call in calls {
        let outcomes = seqs.by_ref().take(call.count);
        let outcomes = outcomes.map(|seq| Ok(Ack { seq, duplicate: false, committed: false }));
        let _ = call.outcome.send(CallOutcome::Done(outcomes.collect()));
    }
    metrics::counter!("agentbus_publish_batched_total").increment(count as u64);
}
