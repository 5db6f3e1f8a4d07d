//! Group commit: calls that wait at the same time are sent as one atomic batch.
//!
//! One task owns the [`BatchQueue`] and sends the batches. A call that is not part of a batch gets
//! [`CallOutcome::SendSingly`] and sends its messages itself. Invariant: each call gets exactly one outcome, however its
//! batch ends and whichever callers have left. The task ends with the [`Batcher`], and waiting calls learn that.

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

/// Sends calls to the task.
pub(super) struct Batcher {
    calls: mpsc::Sender<Call>,
    takes_batches: Arc<AtomicBool>,
    #[cfg(test)]
    singles: Arc<Singles>,
    _task: AbortOnDropHandle<()>,
}

/// The messages of one call.
pub(super) struct Call {
    pub messages: Vec<BatchMessage>,
    pub bytes: usize,
    pub ids: Vec<u128>,
    pub outcome: oneshot::Sender<CallOutcome>,
}

/// What a call gets.
pub(super) enum CallOutcome {
    /// The caller must send the messages by themselves and keep the guard until that has ended. With `resend`, a batch
    /// with them was sent before: a duplicate of an id that we made is our own.
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

/// Messages that a caller sends by themselves, in flight until this is dropped.
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
    /// `takes_batches` is whether the stream's configuration, when it was last read, allows atomic batches. The task
    /// clears it when a batch is refused, and so sends no other until the configuration has been read again.
    pub(super) fn start(
        requester: Arc<Requester>,
        stream: &str,
        takes_batches: Arc<AtomicBool>,
    ) -> Self {
        // Each call holds a permit for each of its messages.
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

    /// Queues a call. When the task has ended, its outcome channel closes.
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
    /// Keeps the ids of batches of different servers and runs apart.
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

    /// Sends everything that is due, and returns when more will be, if that is a matter of time.
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

    /// Lets all queued calls send their messages by themselves.
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
                    // The next batch would probably time out too: the calls that wait now would wait twice as long.
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

/// Reports a batch that was stored, its last message at sequence `last`.
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
