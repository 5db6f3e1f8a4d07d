//! The end of a subscription with its principal, whatever it does at that moment.

use std::sync::Arc;
use std::time::Duration;

use super::testing::Log;
use super::{Item, Start, Subscription};
use crate::access::testing::principal;
use crate::access::{EndReason, Principal};
use crate::limits::CHUNK_BYTES;
use crate::message::Filter;

const LIMIT: Duration = Duration::from_secs(20);
/// Each reason, and the code of the last item.
const REASONS: [(EndReason, Option<&str>); 3] = [
    (EndReason::Revoked, Some("revoked")),
    (EndReason::Expired, Some("expired")),
    (EndReason::Changed, None),
];
const EVERYTHING: &str = r#"{"read":["agent.>"]}"#;

fn subscribe(log: &Log, principal: &Principal, start: Start) -> Subscription {
    Subscription::new(Arc::clone(&log.broadcaster), principal, Filter::default(), start)
}

async fn next(subscription: &mut Subscription) -> Option<Item> {
    tokio::time::timeout(LIMIT, subscription.next()).await.expect("an item or the end")
}

/// The sequences of the messages in the item.
fn seqs(item: Option<Item>) -> Vec<u64> {
    let Some(Item::Messages(messages)) = item else { panic!("no messages: {item:?}") };
    let seq = |json| {
        let message: serde_json::Value = serde_json::from_slice(json).expect("JSON");
        message["seq"].as_u64().expect("a number")
    };
    messages.json().map(seq).collect()
}

/// Fails the test unless nothing follows but the end.
async fn assert_ends(subscription: &mut Subscription, code: Option<&str>) {
    if let Some(code) = code {
        let last = next(subscription).await;
        assert!(matches!(last, Some(Item::Denied { code: is }) if is == code), "{code}: {last:?}");
    }
    for _ in 0..2 {
        let after = next(subscription).await;
        assert!(after.is_none(), "{after:?}");
    }
    tokio::time::timeout(LIMIT, subscription.ended()).await.expect("has ended");
}

#[tokio::test]
async fn ends_before_the_first_poll() {
    let log = Log::start(8).await;
    log.publish(3).await;
    log.fill_ring().await;
    for (reason, code) in REASONS {
        let principal = principal(EVERYTHING);
        principal.end(reason);
        assert_ends(&mut subscribe(&log, &principal, Start::First), code).await;
        let opened_later = principal.clone();
        assert_ends(&mut subscribe(&log, &opened_later, Start::First), code).await;
    }
}

#[tokio::test]
async fn ends_while_it_waits_for_the_log() {
    // The ring is never filled, so the end of the log is not known.
    let log = Log::start(8).await;
    for (reason, code) in REASONS {
        let principal = principal(EVERYTHING);
        let mut subscription = subscribe(&log, &principal, Start::First);
        let end = async {
            tokio::task::yield_now().await;
            principal.end(reason);
        };
        tokio::join!(assert_ends(&mut subscription, code), end);
    }
}

#[tokio::test]
async fn ends_in_a_replay_with_items_that_are_not_sent_yet() {
    let log = Log::start(8).await;
    log.publish_each(40, "a", &"x".repeat(20_000)).await;
    log.fill_ring().await;
    for (reason, code) in REASONS {
        let principal = principal(EVERYTHING);
        let mut subscription = subscribe(&log, &principal, Start::First);
        let ready = next(&mut subscription).await;
        assert!(matches!(ready, Some(Item::Ready { replaying: true, .. })), "{ready:?}");
        assert_eq!(seqs(next(&mut subscription).await)[0], 1);
        assert!(log.broadcaster.stream_bytes() > 2 * CHUNK_BYTES, "more of the page was read");
        principal.end(reason);
        assert_ends(&mut subscription, code).await;
        drop(subscription);
        assert_eq!(log.broadcaster.stream_bytes(), 0);
    }
}

#[tokio::test]
async fn ends_while_it_waits_for_messages() {
    let log = Log::start(8).await;
    log.fill_ring().await;
    for (reason, code) in REASONS {
        let principal = principal(EVERYTHING);
        let mut subscription = subscribe(&log, &principal, Start::Now);
        assert!(matches!(next(&mut subscription).await, Some(Item::Ready { .. })));
        let end = async {
            tokio::task::yield_now().await;
            principal.end(reason);
        };
        tokio::join!(assert_ends(&mut subscription, code), end);
    }
}

#[tokio::test]
async fn yields_no_message_that_was_published_before_the_end_and_not_read() {
    let log = Log::start(8).await;
    log.fill_ring().await;
    for (reason, code) in REASONS {
        let principal = principal(EVERYTHING);
        let mut subscription = subscribe(&log, &principal, Start::Now);
        assert!(matches!(next(&mut subscription).await, Some(Item::Ready { .. })));
        log.publish(1).await;
        log.fill_ring().await;
        assert_eq!(seqs(next(&mut subscription).await).len(), 1);
        log.publish(1).await;
        log.fill_ring().await;
        principal.end(reason);
        // The first reason counts.
        principal.end(EndReason::Revoked);
        assert_ends(&mut subscription, code).await;
    }
}

#[tokio::test]
async fn a_session_ends_with_its_key_and_by_itself() {
    let log = Log::start(8).await;
    log.fill_ring().await;
    let key = principal(EVERYTHING);
    let (logged_out, session) = (key.session(), key.session());
    let mut first = subscribe(&log, &logged_out, Start::Now);
    let mut second = subscribe(&log, &session, Start::Now);
    for stream in [&mut first, &mut second] {
        assert!(matches!(next(stream).await, Some(Item::Ready { .. })));
    }
    logged_out.end(EndReason::Revoked);
    assert_ends(&mut first, Some("revoked")).await;
    let end = async {
        tokio::task::yield_now().await;
        key.end(EndReason::Expired);
    };
    tokio::join!(assert_ends(&mut second, Some("expired")), end);
}

#[tokio::test]
async fn others_go_on_and_callers_without_a_key_never_end() {
    let log = Log::start(8).await;
    log.fill_ring().await;
    let (ended, other) = (principal(EVERYTHING), principal(EVERYTHING));
    let anonymous = Principal::anonymous();
    let mut kept = [subscribe(&log, &other, Start::Now), subscribe(&log, &anonymous, Start::Now)];
    let mut ends = subscribe(&log, &ended, Start::Now);
    for subscription in kept.iter_mut().chain([&mut ends]) {
        assert!(matches!(next(subscription).await, Some(Item::Ready { .. })));
    }
    ended.end(EndReason::Revoked);
    anonymous.end(EndReason::Revoked);
    log.publish(1).await;
    for subscription in &mut kept {
        assert_eq!(seqs(next(subscription).await), [1]);
    }
    assert_ends(&mut ends, Some("revoked")).await;
}

#[tokio::test]
async fn only_what_the_principal_may_read_comes_in_replay_and_live() {
    let log = Log::start(8).await;
    // Odd sequences are from `a`, even ones from `b`.
    for _ in 0..10 {
        log.publish_each(1, "a", "x").await;
        log.publish_each(1, "b", "x").await;
    }
    log.fill_ring().await;
    let of_b = principal(r#"{"as":["b"]}"#);
    let nothing = principal("{}");
    let mut subscription = subscribe(&log, &of_b, Start::First);
    let mut silent = subscribe(&log, &nothing, Start::First);
    for stream in [&mut subscription, &mut silent] {
        assert!(matches!(next(stream).await, Some(Item::Ready { replaying: true, .. })));
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&20) {
        match next(&mut subscription).await {
            Some(Item::CaughtUp { .. }) => {}
            item => seen.extend(seqs(item)),
        }
    }
    assert_eq!(seen, (1..=10).map(|n| 2 * n).collect::<Vec<u64>>());
    assert!(matches!(next(&mut silent).await, Some(Item::CaughtUp { position: 20 })));
    log.publish_each(1, "a", "x").await;
    log.publish_each(1, "b", "x").await;
    let live = loop {
        match next(&mut subscription).await {
            Some(Item::CaughtUp { .. }) => {}
            item => break seqs(item),
        }
    };
    assert_eq!(live, [22]);
}
