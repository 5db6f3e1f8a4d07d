//! Background processing: consumers, messages set aside, dead letters, webhooks.

mod consumers;
mod crowd;
mod letters;
mod set_aside;
pub(super) mod webhooks;

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{LONG, Server, on_both, time};
use crate::store::Store;
use crate::store::work::{
    Attempt, AttemptOutcome, Consumer, DeadLetter, DeadLetterKind, DeadLetterQuery, LeaseOutcome,
    LeasedMessage, Position, SetAside,
};

/// The consumer of most tests.
pub(super) const NAME: &str = "agent-processor";
const NOW: Duration = Duration::ZERO;

fn at() -> DateTime<Utc> {
    time("2026-01-02T03:04:05.678901Z")
}

fn failed(attempt: u32) -> Attempt {
    Attempt { attempt, at: at(), error: format!("failure {attempt}") }
}

pub(super) async fn make(store: &dyn Store, name: &str) -> Consumer {
    let place = Position { floor: 0, feed: None, handled: true };
    store.create_consumer(name, "agent.>", &place).await.expect("a consumer")
}

/// A message whose first attempt failed, due now.
pub(super) fn message(seq: u64) -> SetAside {
    SetAside {
        seq,
        subject: "agent.task.t1.progress".to_owned(),
        body: Bytes::from(format!("{{\"n\":{seq}}}")),
        attempt: 1,
        attempts: vec![failed(1)],
        delay: NOW,
    }
}

/// Opens a store with one consumer that has set these messages aside.
async fn with_aside(server: &Server, seqs: impl IntoIterator<Item = u64>) -> Box<dyn Store> {
    let store = server.open().await;
    make(&*store, NAME).await;
    let messages: Vec<_> = seqs.into_iter().map(message).collect();
    store.set_aside(NAME, &messages).await.expect("set aside");
    store
}

async fn lease_for(store: &dyn Store, limit: usize, time: Duration) -> Vec<LeasedMessage> {
    store.lease_due(NAME, limit, 3, time).await.expect("leases")
}

async fn settle(store: &dyn Store, leased: &[LeasedMessage], verdict: &AttemptOutcome) {
    let verdicts: Vec<_> = leased.iter().map(|one| verdict_on(one, verdict)).collect();
    store.settle(NAME, &verdicts).await.expect("settled");
}

fn verdict_on(leased: &LeasedMessage, verdict: &AttemptOutcome) -> LeaseOutcome {
    LeaseOutcome { seq: leased.seq, lease: leased.lease, outcome: verdict.clone() }
}

fn again(attempt: u32, delay: Duration) -> AttemptOutcome {
    AttemptOutcome::Retry { attempt: failed(attempt), delay }
}

fn dead(attempt: Option<u32>, reason: &str) -> AttemptOutcome {
    AttemptOutcome::Dead { attempt: attempt.map(failed), reason: reason.to_owned() }
}

fn seqs(leased: &[LeasedMessage]) -> Vec<u64> {
    leased.iter().map(|one| one.seq).collect()
}

/// How many messages are set aside, how many of them are leased, and the sequence of the oldest.
async fn aside(store: &dyn Store) -> (u64, u64, Option<u64>) {
    let found = store.consumer(NAME).await.expect("answers").expect("a consumer");
    (found.set_aside, found.retrying, found.oldest_set_aside)
}

async fn letters(store: &dyn Store) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { limit: 1_000, ..DeadLetterQuery::default() };
    store.dead_letters(&query).await.expect("letters").letters
}
