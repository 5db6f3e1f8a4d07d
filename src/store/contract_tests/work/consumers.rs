//! Where consumers stand, and what is fed to them.

use uuid::Uuid;

use super::*;
use crate::store::StoreError;
use crate::store::work::{Feed, Totals};

on_both!(
    a_consumer_is_made_once,
    a_move_fences_whoever_works_from_the_place_before,
    a_floor_only_rises,
    a_feed_is_claimed_by_one,
    a_feed_that_is_over_is_forgotten,
    totals_add_up,
    pausing_keeps_the_reason,
    a_deleted_consumer_leaves_its_letters_alone,
);

async fn a_consumer_is_made_once(server: Server) {
    let store = server.open().await;
    assert_eq!(store.consumer(NAME).await.expect("answers"), None);
    let feed = Feed { floor: 3, top: 9, to: Some(u64::pow(2, 50)), done: vec![5, 7] };
    let place = Place { floor: 12, feed: Some(feed.clone()), handled: false };
    let made = store.create_consumer(NAME, "agent.task.>", &place).await.expect("made");
    let expected = Consumer {
        name: NAME.to_owned(),
        filter: "agent.task.>".to_owned(),
        generation: made.generation,
        handled: false,
        floor: 12,
        feed: Some(feed),
        paused: None,
        totals: Totals::default(),
        set_aside: 0,
        retrying: 0,
        oldest_set_aside: None,
    };
    assert_eq!(made, expected);
    assert_eq!(make(&*store, NAME).await, made);
    let other = make(&*store, "a").await;
    assert_eq!(store.consumers().await.expect("all"), [other, made.clone()]);
    assert_eq!(store.consumer(NAME).await.expect("answers"), Some(made));
}

async fn a_move_fences_whoever_works_from_the_place_before(server: Server) {
    let store = server.open().await;
    let old = make(&*store, NAME).await.generation;
    let feed = Feed { floor: 4, top: 4, to: None, done: vec![] };
    let place = Place { floor: 4, feed: Some(feed.clone()), handled: true };
    assert!(store.place_consumer(NAME, old, &place).await.expect("moved"));
    assert!(!store.place_consumer(NAME, old, &place).await.expect("answers"));
    assert!(!store.place_consumer("nobody", old, &place).await.expect("answers"));
    let moved = store.consumer(NAME).await.expect("answers").expect("there");
    assert!(moved.generation > old && moved.feed == Some(feed.clone()));
    let me = Uuid::now_v7();
    assert_eq!(store.claim_feed(NAME, old, me, LONG).await.expect("answers"), None);
    let mine = store.claim_feed(NAME, moved.generation, me, LONG).await.expect("answers");
    assert_eq!(mine, Some(feed.clone()));
    store.raise_floor(NAME, old, 100).await.expect("changes nothing");
    assert!(store.place_consumer(NAME, moved.generation, &place).await.expect("moved"));
    let late = store.save_feed(NAME, moved.generation, me, LONG, &feed).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    assert_eq!(store.consumer(NAME).await.expect("answers").expect("there").floor, 4);
}

async fn a_floor_only_rises(server: Server) {
    let store = server.open().await;
    let generation = make(&*store, NAME).await.generation;
    for (floor, then) in [(7, 7), (5, 7), (7, 7), (8, 8)] {
        store.raise_floor(NAME, generation, floor).await.expect("raised");
        let found = store.consumer(NAME).await.expect("answers").expect("there");
        assert_eq!((found.floor, found.generation), (then, generation));
    }
}

async fn a_feed_is_claimed_by_one(server: Server) {
    let store = server.open().await;
    let feed = Feed { floor: 0, top: 0, to: None, done: vec![] };
    let place = Place { floor: 0, feed: Some(feed.clone()), handled: true };
    let made = store.create_consumer(NAME, "agent.>", &place).await.expect("made");
    let generation = made.generation;
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let claim =
        async |owner, time| store.claim_feed(NAME, generation, owner, time).await.expect("answers");
    assert_eq!(claim(a, LONG).await, Some(feed.clone()));
    assert_eq!(claim(b, LONG).await, None);
    assert_eq!(claim(a, LONG).await, Some(feed.clone()));
    let further = Feed { floor: 10, top: 20, to: None, done: vec![12, 13] };
    store.save_feed(NAME, generation, a, NOW, &further).await.expect("its own");
    assert_eq!(claim(b, LONG).await, Some(further.clone()));
    let late = store.save_feed(NAME, generation, a, LONG, &feed).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    assert_eq!(claim(b, LONG).await, Some(further));
}

async fn a_feed_that_is_over_is_forgotten(server: Server) {
    let store = server.open().await;
    let feed = |floor| Feed { floor, top: floor, to: Some(9), done: vec![] };
    let place = Place { floor: 9, feed: Some(feed(0)), handled: true };
    let made = store.create_consumer(NAME, "agent.>", &place).await.expect("made");
    let me = Uuid::now_v7();
    store.claim_feed(NAME, made.generation, me, LONG).await.expect("answers").expect("a feed");
    store.save_feed(NAME, made.generation, me, LONG, &feed(8)).await.expect("saved");
    store.save_feed(NAME, made.generation, me, LONG, &feed(9)).await.expect("saved");
    let found = store.consumer(NAME).await.expect("answers").expect("there");
    assert_eq!((found.feed, found.generation), (None, made.generation));
    assert_eq!(store.claim_feed(NAME, made.generation, me, LONG).await.expect("answers"), None);
}

async fn totals_add_up(server: Server) {
    let store = server.open().await;
    make(&*store, NAME).await;
    let more = Totals { processed: 1, failed: 2, redelivered: 3, expired: 4, busy_us: 5 };
    for _ in 0..2 {
        store.add_totals(NAME, &more).await.expect("added");
    }
    let twice = Totals { processed: 2, failed: 4, redelivered: 6, expired: 8, busy_us: 10 };
    let found = store.consumer(NAME).await.expect("answers").expect("there");
    assert_eq!(found.totals, twice);
}

async fn pausing_keeps_the_reason(server: Server) {
    let store = server.open().await;
    let made = make(&*store, NAME).await;
    assert!(!store.pause_consumer("nobody", None).await.expect("answers"));
    assert!(store.pause_consumer(NAME, Some("by\0request")).await.expect("paused"));
    let paused = store.consumer(NAME).await.expect("answers").expect("there");
    assert_eq!(paused.paused.as_deref(), Some("by\u{fffd}request"));
    assert!(store.pause_consumer(NAME, None).await.expect("resumed"));
    assert_eq!(store.consumer(NAME).await.expect("answers"), Some(made));
}

async fn a_deleted_consumer_leaves_its_letters_alone(server: Server) {
    let store = with_aside(&server, 1..=5).await;
    make(&*store, "other").await;
    store.set_aside("other", &[message(1)]).await.expect("set aside");
    let leased = lease_for(&*store, 1, LONG).await;
    settle(&*store, &leased, &dead(None, "poison")).await;
    assert!(store.delete_consumer(NAME).await.expect("deleted"));
    assert!(!store.delete_consumer(NAME).await.expect("answers"));
    assert_eq!(store.consumers().await.expect("all").len(), 1);
    assert_eq!(letters(&*store).await.len(), 1);
    store.set_aside(NAME, &[message(9)]).await.expect("nothing to do");
    assert_eq!(store.next_due(NAME).await.expect("answers"), None);
    make(&*store, NAME).await;
    assert_eq!(aside(&*store).await, (0, 0, None));
    assert_eq!(store.consumer("other").await.expect("answers").expect("there").set_aside, 1);
}
