//! Tests with servers that are killed or frozen, or that lose their stream or consumers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::bus::PublishError;

/// Publishes `size` messages per call until `stop`, and retries each with the same id until it is
/// acknowledged. Returns each id with its sequence.
fn keep_publishing(
    bus: &Arc<NatsBus>,
    size: usize,
    stop: &Arc<AtomicBool>,
) -> tokio::task::JoinHandle<Vec<(String, u64)>> {
    let (bus, stop) = (bus.clone(), stop.clone());
    tokio::spawn(async move {
        let mut acked = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let mut open = messages(size);
            while !open.is_empty() {
                let outcomes = bus.publish(open.clone()).await;
                assert_eq!(outcomes.len(), open.len());
                let new: Vec<u64> = outcomes
                    .iter()
                    .flatten()
                    .filter(|ack| !ack.duplicate)
                    .map(|ack| ack.seq)
                    .collect();
                assert!(new.is_sorted(), "new sequences rise in input order: {new:?}");
                let mut failed = Vec::new();
                for (message, outcome) in open.into_iter().zip(outcomes) {
                    match outcome {
                        Ok(ack) => acked.push((message.id.to_string(), ack.seq)),
                        Err(_) => failed.push(message),
                    }
                }
                open = failed;
                if !open.is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        acked
    })
}

/// Reads everything from sequence 1 on, with waits that are cancelled at random.
fn keep_reading(bus: &Arc<NatsBus>) -> (tokio::sync::watch::Receiver<u64>, AbortOnDropHandle<()>) {
    let (bus, (sender, through)) = (bus.clone(), tokio::sync::watch::channel(0));
    let task = tokio::spawn(async move {
        let mut reader = bus.reader(1).await.expect("reader");
        loop {
            let patience = Duration::from_micros(fastrand::u64(1..20_000));
            let Ok(batch) = tokio::time::timeout(patience, reader.next()).await else { continue };
            let Ok(batch) = batch else { continue };
            for entry in batch {
                let last = *sender.borrow();
                assert_eq!(entry.seq, last + 1, "no gap, no repeat");
                sender.send_replace(entry.seq);
            }
        }
    });
    (through, AbortOnDropHandle::new(task))
}

/// Stops the publishers. Returns what was acknowledged to them.
async fn end(
    publishers: impl IntoIterator<Item = tokio::task::JoinHandle<Vec<(String, u64)>>>,
    stop: &AtomicBool,
) -> Vec<(String, u64)> {
    stop.store(true, Ordering::Relaxed);
    let mut acked = Vec::new();
    for publisher in publishers {
        acked.extend(within("the publisher ends", publisher).await.expect("no panic"));
    }
    acked
}

async fn assert_all_acked_once(bus: &NatsBus, acked: Vec<(String, u64)>) {
    let ids = by_id(bus).await;
    eprintln!("{} acknowledged, {} in the stream", acked.len(), ids.len());
    for (id, seq) in acked {
        assert_eq!(ids.get(&id), Some(&vec![seq]), "{id}");
    }
}

async fn read_to_the_end(bus: &NatsBus, through: &mut tokio::sync::watch::Receiver<u64>) {
    let last = bus.identity().await.expect("identity").bounds.last;
    within("the reader has all", through.wait_for(|seq| *seq >= last)).await.expect("reader runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_server_lose_and_double_nothing() {
    let mut server = server_or_return!();
    let bus = Arc::new(bus(&server).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> =
        [1, 1, 1, 7, 300].map(|size| keep_publishing(&bus, size, &stop)).into_iter().collect();
    let (mut through, _reader) = keep_reading(&bus);
    for pause in [5, 300, 1_500] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.restart().await;
        publish_surely(&bus, &message("after a restart")).await;
    }
    let acked = end(publishers, &stop).await;
    read_to_the_end(&bus, &mut through).await;
    assert_all_acked_once(&bus, acked).await;
    eventually("no entry is left behind", || bus.requester.awaited() == 0).await;
    assert!(*bus.suspicions().borrow() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_consumers_are_recreated_without_gap_or_repeat() {
    let server = server_or_return!();
    let bus = Arc::new(bus(&server).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = keep_publishing(&bus, 50, &stop);
    let readers: Vec<_> = (0..3).map(|_| keep_reading(&bus)).collect();
    let admin =
        async_nats::jetstream::new(async_nats::connect(server.url()).await.expect("client"));
    let stream = admin.get_stream("agent-messages").await.expect("stream");
    let mut deleted = 0;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        use futures_util::TryStreamExt as _;
        let names: Vec<String> = stream.consumer_names().try_collect().await.expect("names");
        for name in names {
            deleted += usize::from(stream.delete_consumer(&name).await.is_ok());
        }
    }
    assert!(deleted > 10, "{deleted}");
    stop.store(true, Ordering::Relaxed);
    within("the publisher ends", publisher).await.expect("no panic");
    for (mut through, _reader) in readers {
        read_to_the_end(&bus, &mut through).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_one_wait_and_then_opens_the_circuit() {
    let server = server_or_return!();
    let bus = Arc::new(bus(&server).await);
    let (mut through, _reader) = keep_reading(&bus);
    publish_surely(&bus, &message("before")).await;
    server.signal("STOP");
    // The signal has not reached every thread yet.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let frozen = message("frozen");
    let since = Instant::now();
    let outcome = publish_one(&bus, frozen.clone()).await;
    assert!(matches!(outcome, Err(PublishError::Unknown(_))), "{outcome:?}");
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    let since = Instant::now();
    let refused = publish_one(&bus, message("refused")).await;
    assert!(
        matches!(&refused, Err(PublishError::NotSent(why)) if why.contains("circuit open")),
        "{refused:?}"
    );
    assert!(since.elapsed() < Duration::from_millis(50));
    assert!(bus.health().is_err());
    tokio::time::sleep(Duration::from_secs(7)).await;
    server.signal("CONT");
    let since = Instant::now();
    let ack = publish_surely(&bus, &frozen).await;
    assert_eq!(ack.seq, 2, "it was stored once");
    assert!(bus.health().is_ok());
    publish_surely(&bus, &message("after")).await;
    read_to_the_end(&bus, &mut through).await;
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    eventually("no entry is left behind", || bus.requester.awaited() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_publishing_fails_at_once_and_recovers_by_itself() {
    let mut server = server_or_return!();
    let bus = bus(&server).await;
    publish_surely(&bus, &message("before")).await;
    let mut reader = bus.reader(1).await.expect("reader");
    read_through(&mut *reader, 1).await;
    server.kill();
    eventually("the loss is noticed", || bus.health().is_err()).await;
    let since = Instant::now();
    let outcomes = bus.publish(messages(100)).await;
    assert!(outcomes.iter().all(|o| matches!(o, Err(PublishError::NotSent(_)))), "{outcomes:?}");
    assert!(bus.identity().await.is_err());
    assert!(since.elapsed() < Duration::from_millis(100), "{:?}", since.elapsed());
    server.restart().await;
    let ack = publish_surely(&bus, &message("after")).await;
    assert_eq!(ack.seq, 2, "nothing was queued and sent later");
    assert_eq!(seqs(&read_through(&mut *reader, 2).await), [2]);
    assert!(bus.health().is_ok());
    let mut reconnects = bus.suspicions();
    within("the reconnect is counted", reconnects.wait_for(|count| *count == 1))
        .await
        .expect("runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_to_a_deleted_stream_are_not_sent_and_open_the_circuit() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    let admin =
        async_nats::jetstream::new(async_nats::connect(server.url()).await.expect("client"));
    admin.delete_stream("agent-messages").await.expect("deleted");
    let since = Instant::now();
    let outcomes = bus.publish(messages(3)).await;
    assert!(outcomes.iter().all(|o| matches!(o, Err(PublishError::NotSent(_)))), "{outcomes:?}");
    assert!(since.elapsed() < Duration::from_secs(6));
    let since = Instant::now();
    publish_one(&bus, message("x")).await.expect_err("circuit open");
    assert!(since.elapsed() < Duration::from_millis(50));
    let mut reader = bus.reader(1).await.expect("reader");
    let refused = reader.next().await.expect_err("no stream");
    assert!(refused.0.contains("stream not found"), "{refused}");
    let other = NatsBus::connect(config(&server)).await.expect("creates it again");
    publish_surely(&bus, &message("x")).await;
    let entries = within("the same reader recovers", async {
        loop {
            if let Ok(entries) = reader.next().await {
                return entries;
            }
        }
    });
    assert_eq!(seqs(&entries.await), [1]);
    assert_ne!(other.identity().await.expect("identity").epoch, None);
}

#[tokio::test]
async fn a_server_without_jetstream_is_an_error_and_no_wait() {
    let Some(server) = Server::start_with("jetstream: false").await else { return };
    let since = Instant::now();
    assert!(NatsBus::connect(config(&server)).await.is_err());
    assert!(NatsBus::connect(NatsConfig::new("nats://127.0.0.1:1")).await.is_err());
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_recovered_within_the_call() {
    let server = server_or_return!();
    let bus = Arc::new(bus(&server).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = [1, 1, 500].map(|size| keep_publishing(&bus, size, &stop));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bus.requester.connection.client.force_reconnect().await.expect("asked");
    }
    let acked = end(publishers, &stop).await;
    assert_all_acked_once(&bus, acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_a_server_that_gets_batches_lose_and_duplicate_nothing() {
    let mut server = server_or_return!();
    let bus = Arc::new(batching_bus(&server).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> =
        (0..80).map(|number| keep_publishing(&bus, 1 + number % 4, &stop)).collect();
    let (mut through, _reader) = keep_reading(&bus);
    for pause in [5, 300, 20, 1_000] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.restart().await;
        publish_surely(&bus, &message("after a restart")).await;
    }
    let acked = end(publishers, &stop).await;
    read_to_the_end(&bus, &mut through).await;
    assert!(batched(&bus).await > acked.len() / 2, "most came in batches");
    assert_all_acked_once(&bus, acked).await;
    eventually("no entry is left behind", || bus.requester.awaited() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_during_batches_are_recovered_within_the_call() {
    let server = server_or_return!();
    let bus = Arc::new(batching_bus(&server).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> =
        (0..60).map(|number| keep_publishing(&bus, 1 + 5 * (number % 4), &stop)).collect();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bus.requester.connection.client.force_reconnect().await.expect("asked");
    }
    let acked = end(publishers, &stop).await;
    assert!(batched(&bus).await > 0, "some came in batches");
    assert_all_acked_once(&bus, acked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_ends_the_wait_for_a_batch_in_time() {
    let server = server_or_return!();
    let bus = Arc::new(batching_bus(&server).await);
    publish_surely(&bus, &message("before")).await;
    server.signal("STOP");
    // The signal has not reached every thread yet.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let since = Instant::now();
    let all = messages(300);
    let calls = all.iter().map(|message| publish_one(&bus, message.clone()));
    let outcomes = futures_util::future::join_all(calls).await;
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    assert!(outcomes.iter().any(|o| matches!(o, Err(PublishError::Unknown(_)))), "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    server.signal("CONT");
    for message in &all {
        publish_surely(&bus, message).await;
    }
    let ids = by_id(&bus).await;
    assert_eq!(ids.len(), 301);
    assert!(ids.values().all(|seqs| seqs.len() == 1));
}

/// How many messages of the log were stored as part of an atomic batch.
async fn batched(bus: &NatsBus) -> usize {
    let last = bus.identity().await.expect("identity").bounds.last;
    let mut reader = bus.reader(1).await.expect("reader");
    let log = read_through(&mut *reader, last).await;
    log.iter().filter(|entry| entry.header("Nats-Batch-Id").is_some()).count()
}
