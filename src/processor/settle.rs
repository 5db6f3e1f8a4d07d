//! Settles messages: records the outcomes of attempts in the store, then acks. This is the only place that
//! acks.
//!
//! Invariant: a delivery is acked, or a message of a feed counted as done, only if it was processed or the
//! store keeps it (set aside, or as a dead letter). While the store does not answer, messages whose outcomes
//! must be recorded stay in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::in_flight::{InFlightMessage, Origin};
use super::outcome::{Settlement, without_nul};
use super::runtime::ConsumerRuntime;
use crate::limits::{FAULT_PAUSE, SETTLE_BATCH};
use crate::store::StoreError;
use crate::store::work::{
    Attempt, AttemptOutcome, DeadLetter, DeadLetterKind, FeedClaim, LeaseOutcome, SetAside,
};

/// Records settlements in batches, until the consumer has stopped and nothing is in flight.
pub(super) async fn run(
    runtime: Arc<ConsumerRuntime>,
    mut settlements: mpsc::Receiver<Settlement>,
) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = settlements.recv_many(&mut batch, SETTLE_BATCH) => {}
            () = runtime.tasks.wait() => match settlements.is_empty() {
                true => return,
                // The last attempt may have sent its settlement after the channel was found empty.
                false => continue,
            },
        }
        let mut is_reported = false;
        while let Err(error) = record(&runtime, &batch).await {
            if let StoreError::Refused(_) = error {
                one_by_one(&runtime, &batch).await;
                break;
            }
            if !std::mem::replace(&mut is_reported, true) {
                let consumer = runtime.name();
                tracing::warn!(%error, consumer, "failed attempts wait to be recorded in the store");
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
        for settlement in batch.drain(..) {
            settlement.message.done().await;
        }
        runtime.due.notify_one();
    }
}

/// Records the settlements one by one. One that the store refuses is logged and counts as settled, so that it
/// does not stop the others.
async fn one_by_one(runtime: &ConsumerRuntime, batch: &[Settlement]) {
    for settlement in batch {
        while let Err(error) = record(runtime, std::slice::from_ref(settlement)).await {
            if let StoreError::Refused(reason) = error {
                let (consumer, seq) = (runtime.name(), settlement.message.record.seq);
                let text = "the store refuses to keep a failed message: it is not tried again";
                tracing::error!(consumer, seq, reason, "{text}");
                break;
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }
}

/// Failed first deliveries, which the store must keep.
#[derive(Default)]
struct Failed {
    aside: Vec<SetAside>,
    dead: Vec<DeadLetter>,
}

impl Failed {
    fn add(&mut self, runtime: &ConsumerRuntime, Settlement { message, outcome }: &Settlement) {
        match outcome {
            AttemptOutcome::Done => {}
            AttemptOutcome::Dead { attempt, reason } => {
                self.dead.push(dead_letter(runtime, message, attempt.clone(), reason));
            }
            AttemptOutcome::Released => {
                self.aside.push(set_aside(runtime, message, None, Duration::ZERO))
            }
            AttemptOutcome::Retry { attempt, delay } => {
                self.aside.push(set_aside(runtime, message, Some(attempt.clone()), *delay));
            }
        }
    }
}

/// Records a batch, each kind of settlement in one transaction. All of them may be repeated.
async fn record(runtime: &ConsumerRuntime, batch: &[Settlement]) -> Result<(), StoreError> {
    let (mut from_bus, mut settled) = (Failed::default(), Vec::new());
    let mut fed: Vec<(FeedClaim, Failed)> = Vec::new();
    for settlement in batch {
        match &settlement.message.origin {
            Origin::Lease(lease) => settled.push(LeaseOutcome {
                seq: settlement.message.record.seq,
                lease: *lease,
                outcome: settlement.outcome.clone(),
            }),
            Origin::Bus(_) => from_bus.add(runtime, settlement),
            Origin::Feed(progress) => {
                // Nearly always, all messages of a batch have the same claim.
                if fed.last().is_none_or(|(claim, _)| *claim != progress.claim) {
                    fed.push((progress.claim, Failed::default()));
                }
                if let Some((_, failed)) = fed.last_mut() {
                    failed.add(runtime, settlement);
                }
            }
        }
    }
    let (store, name) = (&runtime.store, runtime.name());
    if !from_bus.aside.is_empty() {
        store.set_aside(name, &from_bus.aside).await?;
    }
    if !from_bus.dead.is_empty() {
        store.add_dead_letters(&from_bus.dead).await?;
    }
    for (claim, Failed { aside, dead }) in fed {
        match store.leave_feed(name, claim, &aside, &dead).await {
            // Another process has the feed's claim now. It has set aside what this process had begun.
            Err(StoreError::Fenced) => {
                tracing::info!(
                    consumer = name,
                    "another process has the feed, and what failed here"
                );
            }
            kept => kept?,
        }
    }
    if !settled.is_empty() {
        store.settle(name, &settled).await?;
    }
    Ok(())
}

/// Builds the record by which the store keeps a message for a retry. It counts the attempt that failed; without one,
/// the attempt that another process may have begun ([`Policy::doubtful`](super::policy::Policy::doubtful)); else none.
fn set_aside(
    runtime: &ConsumerRuntime,
    message: &InFlightMessage,
    failed: Option<Attempt>,
    delay: Duration,
) -> SetAside {
    let doubtful =
        || runtime.spec.policy.doubtful(runtime.clock.now()).filter(|_| message.is_doubtful);
    let counted = failed.or_else(doubtful);
    SetAside {
        seq: message.record.seq,
        subject: without_nul(message.record.subject.as_str()),
        body: message.record.body.clone(),
        attempt: counted.as_ref().map_or(0, |counted| counted.attempt),
        attempts: message.attempts.iter().cloned().chain(counted).collect(),
        delay,
    }
}

fn dead_letter(
    runtime: &ConsumerRuntime,
    message: &InFlightMessage,
    failed: Option<Attempt>,
    reason: &str,
) -> DeadLetter {
    DeadLetter {
        id: Uuid::now_v7(),
        kind: DeadLetterKind::Message,
        source: runtime.name().to_owned(),
        seq: message.record.seq,
        subject: without_nul(message.record.subject.as_str()),
        body: message.record.body.clone(),
        attempts: message.attempts.iter().cloned().chain(failed).collect(),
        reason: reason.to_owned(),
        died_at: runtime.clock.now(),
    }
}
