//! What is erased while a subscription has it in memory is sent in its erased form.

use std::sync::Arc;
use std::time::Duration;

use super::testing::Log;
use super::{Item, Start, Subscription};
use crate::access::testing::principal;
use crate::limits::CHUNK_BYTES;
use crate::message::Filter;

const LIMIT: Duration = Duration::from_secs(20);
const COUNT: usize = 8;

/// The sequences of the messages in the next item with any, and which of them are erased.
async fn next(subscription: &mut Subscription) -> Vec<(u64, bool)> {
    loop {
        let item = tokio::time::timeout(LIMIT, subscription.next()).await.expect("an item");
        let Some(Item::Messages(messages)) = item else { continue };
        let shown = |json| {
            let message: serde_json::Value = serde_json::from_slice(json).expect("JSON");
            let is_erased = message["metadata"]["erased"] == true;
            assert_eq!(is_erased, message["content"] == "");
            (message["seq"].as_u64().expect("a number"), is_erased)
        };
        return messages.json().map(shown).collect();
    }
}

fn erase(log: &Log, number: u64, seqs: &[u64]) {
    log.broadcaster.erased.add(seqs);
    log.broadcaster.forget(seqs);
    log.broadcaster.erased.raise(number);
}

fn subscribe(log: &Log, start: Start) -> Subscription {
    let everything = principal(r#"{"read":["agent.>"]}"#);
    Subscription::new(Arc::clone(&log.broadcaster), &everything, Filter::default(), start)
}

/// Each message fills an item, so a subscription of the whole log has the others in memory when it has sent one.
async fn large(ring: usize) -> Log {
    let log = Log::start(ring).await;
    log.publish(1).await;
    log.fill_ring().await;
    log.publish_each(COUNT, "a", &"x".repeat(CHUNK_BYTES)).await;
    log.fill_ring().await;
    log
}

#[tokio::test]
async fn what_waits_in_a_replay_is_sent_erased() {
    let log = large(2).await;
    let mut subscription = subscribe(&log, Start::From(2));
    assert_eq!(next(&mut subscription).await, [(2, false)]);
    erase(&log, 1, &[3, 5]);
    for (seq, is_erased) in [(3, true), (4, false), (5, true)] {
        assert_eq!(next(&mut subscription).await, [(seq, is_erased)]);
    }
}

#[tokio::test]
async fn the_ring_has_the_erased_form_before_and_after_it_is_taken() {
    let log = large(100).await;
    let mut before = subscribe(&log, Start::From(2));
    assert_eq!(next(&mut before).await[0], (2, false));
    // The second comes later than its erasure, as from a reader that is behind.
    erase(&log, 1, &[4, 2 + COUNT as u64]);
    log.publish(1).await;
    log.fill_ring().await;
    for mut subscription in [before, subscribe(&log, Start::From(3))] {
        let mut seen = Vec::new();
        while seen.len() < COUNT {
            seen.extend(next(&mut subscription).await);
        }
        let erased: Vec<u64> = seen.iter().filter(|(_, erased)| *erased).map(|it| it.0).collect();
        assert_eq!(erased, [4, 2 + COUNT as u64], "{seen:?}");
    }
}
