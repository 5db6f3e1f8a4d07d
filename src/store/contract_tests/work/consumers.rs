//! Positions and totals of consumers, and their feeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use uuid::Uuid;

use super::*;
use crate::store::StoreError;
use crate::store::contract_tests::on_postgres;
use crate::store::work::{Feed, FeedClaim, Totals};

on_both!(
    a_consumer_is_made_once,
    a_move_fences_whoever_works_from_the_place_before,
    a_consumer_is_held_at_its_place_alone,
    a_floor_only_rises,
    a_feed_is_claimed_by_one,
    a_feed_that_is_over_is_forgotten,
    what_left_a_feed_never_leaves_it_again,
    who_lost_the_claim_takes_nothing_out_of_a_feed,
    totals_add_up,
    pausing_keeps_the_reason,
    a_deleted_consumer_leaves_its_letters_alone,
);

async fn a_consumer_is_made_once(server: Server) {
    let store = server.open().await;
    assert_eq!(store.consumer(NAME).await.expect("answers"), None);
    let feed = Feed { floor: 3, top: 9, to: Some(u64::pow(2, 50)), done: vec![5, 7] };
    let place = Position { floor: 12, feed: Some(feed.clone()), handled: false };
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
    let place = Position { floor: 4, feed: Some(feed.clone()), handled: true };
    assert!(store.move_consumer(NAME, old, &place).await.expect("moved"));
    assert!(!store.move_consumer(NAME, old, &place).await.expect("answers"));
    assert!(!store.move_consumer("nobody", old, &place).await.expect("answers"));
    let moved = store.consumer(NAME).await.expect("answers").expect("there");
    assert!(moved.generation > old && moved.feed == Some(feed.clone()));
    let me = Uuid::now_v7();
    assert_eq!(store.claim_feed(NAME, old, me, LONG).await.expect("answers"), None);
    let mine = store.claim_feed(NAME, moved.generation, me, LONG).await.expect("answers");
    assert_eq!(mine, Some(feed.clone()));
    store.raise_floor(NAME, old, 100).await.expect("changes nothing");
    assert!(store.move_consumer(NAME, moved.generation, &place).await.expect("moved"));
    let late = store.save_feed(NAME, moved.generation, me, LONG, &feed).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    assert_eq!(store.consumer(NAME).await.expect("answers").expect("there").floor, 4);
}

async fn a_consumer_is_held_at_its_place_alone(server: Server) {
    let store = server.open().await;
    let generation = make(&*store, NAME).await.generation;
    assert!(store.lock_consumer(NAME, generation + 1).await.expect("answers").is_none());
    assert!(store.lock_consumer("nobody", generation).await.expect("answers").is_none());
    let held = store.lock_consumer(NAME, generation).await.expect("answers");
    drop(held.expect("it is there"));
    let place = Position { floor: 4, feed: None, handled: true };
    assert!(store.move_consumer(NAME, generation, &place).await.expect("moved"));
    assert!(store.lock_consumer(NAME, generation).await.expect("answers").is_none());
}

/// Many servers lock the consumer in turn, until it is moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_at_a_time_holds_a_consumer() {
    on_postgres(async |server| {
        let store: Arc<dyn Store> = Arc::from(server.open().await);
        let generation = make(&*store, NAME).await.generation;
        let (inside, held) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let hold_often = |store: Arc<dyn Store>| {
            let (inside, held) = (Arc::clone(&inside), Arc::clone(&held));
            tokio::spawn(async move {
                while let Some(hold) = store.lock_consumer(NAME, generation).await.expect("answers")
                {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "alone");
                    store.consumer(NAME).await.expect("a while");
                    let now = store.consumer(NAME).await.expect("answers").expect("there");
                    assert_eq!(now.generation, generation, "it stays where it is");
                    inside.fetch_sub(1, SeqCst);
                    held.fetch_add(1, SeqCst);
                    drop(hold);
                }
            })
        };
        let mut holders = Vec::new();
        for _ in 0..3 {
            holders.push(hold_often(Arc::from(server.open().await)));
        }
        let enough = async {
            while held.load(SeqCst) < 300 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), enough).await.expect("all get their turns");
        let place = Position { floor: 4, feed: None, handled: true };
        assert!(store.move_consumer(NAME, generation, &place).await.expect("moved"));
        for holder in holders {
            holder.await.expect("each ends when it was moved");
        }
    })
    .await;
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
    let place = Position { floor: 0, feed: Some(feed.clone()), handled: true };
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
    let place = Position { floor: 9, feed: Some(feed(0)), handled: true };
    let made = store.create_consumer(NAME, "agent.>", &place).await.expect("made");
    let me = Uuid::now_v7();
    store.claim_feed(NAME, made.generation, me, LONG).await.expect("answers").expect("a feed");
    store.save_feed(NAME, made.generation, me, LONG, &feed(8)).await.expect("saved");
    store.save_feed(NAME, made.generation, me, LONG, &feed(9)).await.expect("saved");
    let found = store.consumer(NAME).await.expect("answers").expect("there");
    assert_eq!((found.feed, found.generation), (None, made.generation));
    assert_eq!(store.claim_feed(NAME, made.generation, me, LONG).await.expect("answers"), None);
}

/// Creates a consumer with a feed up to 20, of which up to 9 may have been delivered, and claims the feed.
async fn claimed(store: &dyn Store, owner: Uuid) -> FeedClaim {
    let feed = Feed { floor: 0, top: 9, to: Some(20), done: vec![] };
    let place = Position { floor: 20, feed: Some(feed), handled: true };
    let generation = store.create_consumer(NAME, "agent.>", &place).await.expect("made").generation;
    store.claim_feed(NAME, generation, owner, NOW).await.expect("answers").expect("a feed");
    FeedClaim { generation, owner }
}

async fn fed(store: &dyn Store) -> Option<Feed> {
    store.consumer(NAME).await.expect("answers").expect("there").feed
}

async fn what_left_a_feed_never_leaves_it_again(server: Server) {
    let store = server.open().await;
    let claim = claimed(&*store, Uuid::from_u128(1)).await;
    let leave = async |claim, seqs: &[u64], dead: &[DeadLetter]| {
        let aside: Vec<_> = seqs.iter().copied().map(message).collect();
        store.leave_feed(NAME, claim, &aside, dead).await.expect("left");
    };
    let letter = DeadLetter {
        id: Uuid::now_v7(),
        kind: DeadLetterKind::Message,
        source: NAME.to_owned(),
        seq: 7,
        subject: "agent.task.t1.progress".to_owned(),
        body: Bytes::from_static(b"{}"),
        attempts: vec![failed(1)],
        reason: "rejected".to_owned(),
        died_at: at(),
    };
    leave(claim, &[5, 3], std::slice::from_ref(&letter)).await;
    // If the process is killed here, the feed still has these as done, although `save_feed` was not called.
    let feed = Feed { floor: 0, top: 9, to: Some(20), done: vec![3, 5, 7] };
    assert_eq!(fed(&*store).await, Some(feed.clone()));
    let leased = lease_for(&*store, 9, LONG).await;
    assert_eq!(seqs(&leased), [3, 5]);
    settle(&*store, &leased, &AttemptOutcome::Done).await;
    store.discard_dead_letter(letter.id).await.expect("discarded");
    // An earlier state of the feed, written late, does not undo what is done.
    let FeedClaim { generation, owner } = claim;
    let late = Feed { floor: 2, top: 6, to: Some(20), done: vec![4] };
    store.save_feed(NAME, generation, owner, NOW, &late).await.expect("saved");
    let feed = Feed { floor: 2, top: 7, to: Some(20), done: vec![3, 4, 5, 7] };
    assert_eq!(fed(&*store).await, Some(feed.clone()));
    // Neither a repeat after a lost response nor a successor sets aside again what has ended.
    leave(claim, &[1, 3, 5], std::slice::from_ref(&letter)).await;
    let next = Uuid::from_u128(2);
    let taken = store.claim_feed(NAME, generation, next, LONG).await.expect("answers");
    assert_eq!(taken, Some(feed));
    leave(FeedClaim { generation, owner: next }, &[3, 5, 6, 7], &[]).await;
    assert_eq!(seqs(&lease_for(&*store, 9, LONG).await), [6]);
    assert!(letters(&*store).await.is_empty());
    let over = Feed { floor: 20, top: 20, to: Some(20), done: vec![] };
    store.save_feed(NAME, generation, next, NOW, &over).await.expect("saved");
    assert_eq!(fed(&*store).await, None);
}

async fn who_lost_the_claim_takes_nothing_out_of_a_feed(server: Server) {
    let store = server.open().await;
    let lost = claimed(&*store, Uuid::from_u128(1)).await;
    let claim = FeedClaim { owner: Uuid::from_u128(2), ..lost };
    let taken = store.claim_feed(NAME, claim.generation, claim.owner, LONG).await.expect("answers");
    assert!(taken.is_some());
    let elsewhere = FeedClaim { generation: claim.generation + 1, ..claim };
    for fenced in [lost, elsewhere] {
        let left = store.leave_feed(NAME, fenced, &[message(3)], &[]).await;
        assert!(matches!(left, Err(StoreError::Fenced)), "{left:?}");
    }
    assert_eq!((aside(&*store).await.0, fed(&*store).await.expect("a feed").done.len()), (0, 0));
    store.leave_feed(NAME, claim, &[message(3)], &[]).await.expect("left");
    assert_eq!(aside(&*store).await.0, 1);
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
