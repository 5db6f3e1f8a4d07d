//! Figures, when asked for: `cargo test --release --lib nats::tests::bench -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use super::*;

const BATCHES: usize = 400;
const BATCH: usize = 500;
const SINGLES: usize = 2_000;
const TASKS: usize = 64;

fn told(what: &str, count: usize, since: Instant) {
    let took = since.elapsed();
    eprintln!("{what}: {count} in {took:?}, {:.0}/s", count as f64 / took.as_secs_f64());
}

/// A message of about 357 bytes on the wire, as the reference's figures have.
fn sample() -> Outgoing {
    message(&"x".repeat(40))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn publishes_in_batches() {
    let server = server_or_return!();
    for tasks in [1, 2, 4] {
        let bus = Arc::new(bus(&server).await);
        let batches: Vec<Vec<Vec<Outgoing>>> = (0..tasks)
            .map(|_| (0..BATCHES / tasks).map(|_| (0..BATCH).map(|_| sample()).collect()).collect())
            .collect();
        let since = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for batches in batches {
            let bus = bus.clone();
            running.spawn(async move {
                for batch in batches {
                    let failed = bus.publish(batch).await.into_iter().find(Result::is_err);
                    assert_eq!(failed, None);
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.expect("no panic");
        }
        told(
            &format!("Bus::publish, batches of {BATCH} from {tasks} tasks"),
            BATCHES * BATCH,
            since,
        );
    }
    let bus = bus(&server).await;
    let last = bus.identity().await.expect("identity").bounds.last;
    let mut reader = bus.reader(1).await.expect("reader");
    let since = Instant::now();
    let (mut read, mut batches) = (0, 0);
    while read < last {
        let batch = reader.next().await.expect("reads");
        read = batch.last().map_or(read, |entry| entry.seq);
        batches += 1;
    }
    told(&format!("Reader::next, {batches} batches"), last as usize, since);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn publishes_singles_beside_async_nats() {
    let server = server_or_return!();
    let bus = Arc::new(bus(&server).await);
    for _ in 0..2 {
        let since = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..TASKS {
            let bus = bus.clone();
            running.spawn(async move {
                for _ in 0..SINGLES {
                    publish_one(&bus, sample()).await.expect("acked");
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.expect("no panic");
        }
        told(&format!("Bus::publish, singles from {TASKS} tasks"), TASKS * SINGLES, since);

        let client = async_nats::connect(server.url()).await.expect("client");
        let context = async_nats::jetstream::new(client);
        let since = Instant::now();
        for _ in 0..TASKS {
            let context = context.clone();
            running.spawn(async move {
                for _ in 0..SINGLES {
                    let message = sample();
                    let publish = async_nats::jetstream::message::PublishMessage::build()
                        .payload(message.body)
                        .header("Agentbus", "1")
                        .message_id(message.id.to_string());
                    let sent =
                        context.send_publish(message.subject.as_str().to_owned(), publish).await;
                    sent.expect("sent").await.expect("acked");
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.expect("no panic");
        }
        told(&format!("async-nats, singles from {TASKS} tasks"), TASKS * SINGLES, since);
    }
    let since = Instant::now();
    for _ in 0..5_000 {
        publish_one(&bus, sample()).await.expect("acked");
    }
    told("Bus::publish, one after another", 5_000, since);
}
