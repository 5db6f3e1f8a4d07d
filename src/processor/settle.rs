//! From how an attempt went to what becomes of the message: the one place that acks.
//!
//! Invariant: a delivery is acked, or a fed message counted as done, only when
//! it is processed, or the store keeps it, set aside or as a dead letter. While
//! the store is away what cannot be recorded stays in in_flight.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::handler::Outcome;
use super::in_flight::{InFlightMessage, Origin};
use super::policy::Policy;
use super::runtime::ConsumerRuntime;
use crate::limits::{FAULT_PAUSE, MAX_ATTEMPT_ERROR, SETTLE_BATCH};
use crate::store::StoreError;
use crate::store::work::{
    Attempt, AttemptOutcome, DeadLetter, DeadLetterKind, FeedClaim, LeaseOutcome, SetAside,
};

/// A message whose end the store must know.
pub(super) struct Settlement {
    pub in_flight: InFlightMessage,
    pub verdict: AttemptOutcome,
}

/// What an outcome means after so many attempts. `chance` spreads the pause.
pub(super) fn verdict(
    policy: &Policy,
    attempt: u32,
    outcome: Outcome,
    at: chrono::DateTime<chrono::Utc>,
    chance: f64,
) -> AttemptOutcome {
    let failed = |error| Attempt { attempt, at, error: shortened(error) };
    match outcome {
        Outcome::Done => AttemptOutcome::Done,
        Outcome::Reject { error } => {
            AttemptOutcome::Dead { attempt: Some(failed(error)), reason: "rejected".to_owned() }
        }
        Outcome::Retry { error, .. } if attempt >= policy.max_deliver => AttemptOutcome::Dead {
            attempt: Some(failed(error)),
            reason: format!("failed {attempt} of {} times", policy.max_deliver),
        },
        Outcome::Retry { after, error } => AttemptOutcome::Retry {
            attempt: failed(error),
            delay: after.unwrap_or_else(|| policy.pause(attempt, chance)),
        },
    }
}

/// The end of an error, which mostly says most; U+0000 is no text to a database.
fn shortened(mut error: String) -> String {
    let mut cut = error.len().saturating_sub(MAX_ATTEMPT_ERROR);
    while !error.is_char_boundary(cut) {
        cut += 1;
    }
    error.drain(..cut);
    if error.contains('\0') { error.replace('\0', "\u{fffd}") } else { error }
}

/// Records verdicts in batches until every attempt has ended and none is left.
pub(super) async fn run(
    runtime: Arc<ConsumerRuntime>,
    mut settlements: mpsc::Receiver<Settlement>,
) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = settlements.recv_many(&mut batch, SETTLE_BATCH) => {}
            () = runtime.ended.cancelled() => return,
        }
        let mut told = false;
        while let Err(error) = record(&runtime, &batch).await {
            let consumer = runtime.name();
            match error {
                StoreError::Unavailable(_) | StoreError::Fenced => {}
                StoreError::Refused(_) => {
                    one_by_one(&runtime, &batch).await;
                    break;
                }
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, consumer, "failed attempts wait to be recorded");
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
        for settlement in batch.drain(..) {
            settlement.in_flight.origin.done(settlement.in_flight.message.seq).await;
        }
        runtime.due.notify_one();
    }
}

/// Records each by itself; what the store refuses even so is told and let go, since
/// one message must not stop the others.
async fn one_by_one(runtime: &ConsumerRuntime, batch: &[Settlement]) {
    for settlement in batch {
        let one = std::slice::from_ref(settlement);
        while let Err(error) = record(runtime, one).await {
            if let StoreError::Refused(reason) = error {
                let (consumer, seq) = (runtime.name(), settlement.in_flight.message.seq);
                tracing::error!(
                    consumer,
                    seq,
                    reason,
                    "the store refuses to keep a failed message"
                );
                break;
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }
}

/// First deliveries that the store is to keep.
#[derive(Default)]
struct Failed {
    aside: Vec<SetAside>,
    dead: Vec<DeadLetter>,
}

impl Failed {
    fn add(
        &mut self,
        runtime: &ConsumerRuntime,
        in_flight: &InFlightMessage,
        verdict: &AttemptOutcome,
    ) {
        match verdict {
            AttemptOutcome::Done => {}
            AttemptOutcome::Dead { attempt, reason } => {
                self.dead.push(dead_letter(runtime, in_flight, attempt.clone(), reason));
            }
            AttemptOutcome::Released => self.aside.push(set_aside(runtime, in_flight, None)),
            AttemptOutcome::Retry { attempt, delay } => {
                let mut message = set_aside(runtime, in_flight, Some(attempt.clone()));
                message.delay = *delay;
                self.aside.push(message);
            }
        }
    }
}

/// Each list in one transaction; all may be repeated.
async fn record(runtime: &ConsumerRuntime, batch: &[Settlement]) -> Result<(), StoreError> {
    let (mut from_bus, mut settled) = (Failed::default(), Vec::new());
    let mut fed: Vec<(FeedClaim, Failed)> = Vec::new();
    for Settlement { in_flight, verdict } in batch {
        match &in_flight.origin {
            Origin::Lease(lease) => settled.push(LeaseOutcome {
                seq: in_flight.message.seq,
                lease: *lease,
                outcome: verdict.clone(),
            }),
            Origin::Bus(_) => from_bus.add(runtime, in_flight, verdict),
            Origin::Feed(progress) => {
                // Mostly all of them are of one feed.
                if fed.last().is_none_or(|(claim, _)| *claim != progress.claim) {
                    fed.push((progress.claim, Failed::default()));
                }
                if let Some((_, failed)) = fed.last_mut() {
                    failed.add(runtime, in_flight, verdict);
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
            Err(StoreError::Fenced) => {
                tracing::info!(consumer = name, "who feeds it now has what failed here");
            }
            kept => kept?,
        }
    }
    if !settled.is_empty() {
        store.settle(name, &settled).await?;
    }
    Ok(())
}

/// Set aside with what counts so far: this attempt if it failed; one that nobody
/// counted; or none.
fn set_aside(
    runtime: &ConsumerRuntime,
    in_flight: &InFlightMessage,
    failed: Option<Attempt>,
) -> SetAside {
    let doubtful =
        || runtime.spec.policy.doubtful(runtime.clock.now()).filter(|_| in_flight.doubtful);
    let counted = failed.or_else(doubtful);
    SetAside {
        seq: in_flight.message.seq,
        subject: plain(in_flight.message.subject.as_str()),
        body: in_flight.message.body.clone(),
        attempt: counted.as_ref().map_or(0, |counted| counted.attempt),
        attempts: in_flight.attempts.iter().cloned().chain(counted).collect(),
        delay: std::time::Duration::ZERO,
    }
}

fn dead_letter(
    runtime: &ConsumerRuntime,
    in_flight: &InFlightMessage,
    failed: Option<Attempt>,
    reason: &str,
) -> DeadLetter {
    DeadLetter {
        id: Uuid::now_v7(),
        kind: DeadLetterKind::Message,
        source: runtime.name().to_owned(),
        seq: in_flight.message.seq,
        subject: plain(in_flight.message.subject.as_str()),
        body: in_flight.message.body.clone(),
        attempts: in_flight.attempts.iter().cloned().chain(failed).collect(),
        reason: reason.to_owned(),
        died_at: runtime.clock.now(),
    }
}

/// A foreign subject may hold U+0000, which no text column takes.
fn plain(subject: &str) -> String {
    subject.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_last_attempt_buries_and_a_rejection_does_at_once() {
        let (policy, at) = (Policy::default(), chrono::DateTime::UNIX_EPOCH);
        let retry = |after| Outcome::Retry { after, error: "no".to_owned() };
        let failed = |attempt| Attempt { attempt, at, error: "no".to_owned() };
        let given = |attempt, outcome| verdict(&policy, attempt, outcome, at, 0.5);
        let again = |attempt, secs| AttemptOutcome::Retry {
            attempt: failed(attempt),
            delay: Duration::from_secs(secs),
        };
        assert_eq!(given(1, retry(None)), again(1, 1));
        assert_eq!(given(2, retry(Some(Duration::from_secs(77)))), again(2, 77));
        assert!(matches!(given(3, retry(None)), AttemptOutcome::Dead { attempt: Some(_), .. }));
        let reject = Outcome::Reject { error: "no".to_owned() };
        assert_eq!(
            given(1, reject),
            AttemptOutcome::Dead { attempt: Some(failed(1)), reason: "rejected".to_owned() }
        );
        assert_eq!(given(1, Outcome::Done), AttemptOutcome::Done);
    }

    #[test]
    fn of_a_long_error_the_end_is_kept() {
        let long = format!("{}é\0end", "x".repeat(MAX_ATTEMPT_ERROR));
        let kept = shortened(long);
        assert!(kept.len() <= MAX_ATTEMPT_ERROR + 2 && kept.ends_with("é\u{fffd}end"));
    }
}
