//! Publish calls that share atomic batches (`NATS_SYNC_ALWAYS`).

use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::bus::{Ack, PublishError};
use crate::message::decode;

type Outcomes = Vec<Result<Ack, PublishError>>;

async fn publish_together(bus: &NatsBus, calls: &[Vec<Outgoing>]) -> Vec<Outcomes> {
    join_all(calls.iter().map(|call| bus.publish(call.clone()))).await
}

fn calls(count: usize, messages_each: usize) -> Vec<Vec<Outgoing>> {
    (0..count).map(|_| messages(messages_each)).collect()
}

fn of_client(message: Outgoing) -> Outgoing {
    Outgoing { id_is_clients: true, ..message }
}

/// Checks each acknowledged sequence against the log. Returns how many messages were stored as part of a
/// batch.
async fn check(bus: &NatsBus, calls: &[Vec<Outgoing>], outcomes: &[Outcomes]) -> usize {
    let last = bus.identity().await.expect("identity").bounds.last;
    let mut reader = bus.reader(1).await.expect("reader");
    let log = read_through(&mut *reader, last).await;
    assert_eq!(seqs(&log), (1..=last).collect::<Vec<u64>>());
    for (call, outcomes) in calls.iter().zip(outcomes) {
        assert_eq!(call.len(), outcomes.len());
        let mut before = 0;
        for (message, outcome) in call.iter().zip(outcomes) {
            let Ok(ack) = outcome else { continue };
            let entry = &log[usize::try_from(ack.seq).expect("small") - 1];
            assert_eq!(payload(entry), message.body, "{}", ack.seq);
            assert!(ack.duplicate || ack.seq > before, "{outcomes:?}");
            before = if ack.duplicate { before } else { ack.seq };
        }
    }
    log.iter().filter(|entry| entry.header("Nats-Batch-Id").is_some()).count()
}

/// Changes the stream as an operator would.
async fn reconfigure(
    server: &Server,
    change: impl FnOnce(&mut async_nats::jetstream::stream::Config),
) {
    let client = async_nats::connect(server.url()).await.expect("client");
    let admin = async_nats::jetstream::new(client);
    let mut stream = admin.get_stream("agent-messages").await.expect("stream");
    let mut config = stream.info().await.expect("info").config.clone();
    change(&mut config);
    admin.update_stream(config).await.expect("updated");
}

fn news(outcomes: &[Outcomes]) -> usize {
    outcomes.iter().flatten().flatten().filter(|ack| !ack.duplicate).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_get_the_sequences_of_their_messages() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    let calls: Vec<Vec<Outgoing>> = (0..300).map(|number| messages(1 + number % 7)).collect();
    let outcomes = publish_together(&bus, &calls).await;
    let count: usize = calls.iter().map(Vec::len).sum();
    assert_eq!(news(&outcomes), count);
    let batched = check(&bus, &calls, &outcomes).await;
    assert!(batched > count / 2, "{batched} of {count}");
    let mut reader = bus.reader(1).await.expect("reader");
    let log = read_through(&mut *reader, u64::try_from(count).expect("small")).await;
    assert!(log.iter().any(|entry| entry.header("Nats-Batch-Commit").is_some()));
    let foreign = log.into_iter().filter_map(|raw| decode(raw, bus.log_name()).foreign);
    assert_eq!(foreign.count(), 0, "all are ours, however they came");
    eventually("no entry is left behind", || bus.requester.awaited() == 0).await;
    assert_eq!(bus.publisher.singles_in_flight(), 0, "nor counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_a_batch_are_recognised_afterwards() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    let call: Vec<Outgoing> = messages(100).into_iter().map(of_client).collect();
    let first = publish_together(&bus, std::slice::from_ref(&call)).await.remove(0);
    assert_eq!(
        check(&bus, std::slice::from_ref(&call), std::slice::from_ref(&first)).await,
        100,
        "in one batch"
    );
    // Messages with recently used ids are sent one by one.
    let again = bus.publish(call.clone()).await;
    let third = publish_together(&bus, &[call]).await.remove(0);
    for (first, again) in first.iter().chain(&first).zip(again.iter().chain(&third)) {
        let (first, again) = (first.as_ref().expect("acked"), again.as_ref().expect("acked"));
        assert_eq!((again.seq, again.duplicate), (first.seq, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_beside_a_batch_fails_no_other_call() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    let known = of_client(message("known"));
    let first = publish_one(&bus, known.clone()).await.expect("acked");
    let mut calls = calls(99, 2);
    calls.insert(40, vec![message("before"), known, message("after")]);
    let outcomes = publish_together(&bus, &calls).await;
    assert_eq!(news(&outcomes), 2 * 99 + 2);
    let repeat = outcomes[40][1].as_ref().expect("acked");
    assert_eq!((repeat.seq, repeat.duplicate), (first.seq, true));
    check(&bus, &calls, &outcomes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_in_many_calls_is_stored_once() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    let ids: Vec<Outgoing> = messages(20).into_iter().map(of_client).collect();
    let calls: Vec<Vec<Outgoing>> = (0..400)
        .map(|number| match number % 4 {
            0 => vec![ids[number % 20].clone(), ids[number % 20].clone()],
            1 => ids[number % 18..number % 18 + 3].to_vec(),
            _ => messages(2),
        })
        .collect();
    let outcomes = publish_together(&bus, &calls).await;
    assert!(outcomes.iter().flatten().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(news(&outcomes), 20 + 2 * 200);
    check(&bus, &calls, &outcomes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_refused_alone() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    reconfigure(&server, |config| config.max_message_size = 2_048).await;
    for long_at in [0, 57, 99] {
        let mut calls = calls(100, 1);
        calls[long_at] = vec![message("a"), message(&"x".repeat(4_096)), message("b")];
        let outcomes = publish_together(&bus, &calls).await;
        assert!(matches!(&outcomes[long_at][1], Err(PublishError::NotSent(_))), "{outcomes:?}");
        assert_eq!(news(&outcomes), 99 + 2);
        check(&bus, &calls, &outcomes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_servers_limit_is_never_in_a_batch() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    let mut calls = calls(60, 1);
    calls[30] = vec![message(&"x".repeat(1_048_576))];
    let outcomes = publish_together(&bus, &calls).await;
    assert!(matches!(&outcomes[30][0], Err(PublishError::NotSent(_))), "{:?}", outcomes[30]);
    assert_eq!(news(&outcomes), 59);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_stalls_no_other() {
    let server = server_or_return!();
    let bus = Arc::new(batching_bus(&server).await);
    for round in 0..20 {
        let calls = calls(120, 1 + round % 3);
        let tasks: Vec<_> = calls
            .iter()
            .map(|call| {
                let (bus, call) = (bus.clone(), call.clone());
                tokio::spawn(async move { bus.publish(call).await })
            })
            .collect();
        let mut stay = Vec::new();
        for (number, task) in tasks.into_iter().enumerate() {
            if number % 2 == 0 {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..100))).await;
                task.abort();
            } else {
                stay.push(task);
            }
        }
        for task in stay {
            let outcomes =
                within("a caller that stays gets its outcomes", task).await.expect("no panic");
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        }
    }
    assert!(by_id(&bus).await.values().all(|seqs| seqs.len() == 1));
    eventually("no entry is left behind", || bus.requester.awaited() == 0).await;
    assert_eq!(bus.publisher.singles_in_flight(), 0, "nor counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_no_batches_gets_singles() {
    let server = server_or_return!();
    let bus = batching_bus(&server).await;
    reconfigure(&server, |config| config.allow_atomic_publish = false).await;
    let calls = calls(100, 1);
    let outcomes = publish_together(&bus, &calls).await;
    assert_eq!(news(&outcomes), 100);
    assert!(!bus.publisher.sends_batches(), "not tried again at once");
    bus.identity().await.expect("reads the configuration");
    let outcomes = publish_together(&bus, &calls).await;
    assert!(outcomes.iter().flatten().all(|o| o.as_ref().is_ok_and(|ack| ack.seq <= 100)));
    assert_eq!(check(&bus, &calls, &outcomes).await, 0);
}
