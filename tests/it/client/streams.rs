//! Streams through kills, restarts, proxies that answer by themselves, and half-open connections: every message once, in
//! order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentbus_client::{
    AckLevel, Client, ErrorKind, Event, Filter, NewMessage, Start, Subscription,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Far, LIMIT, note};
use crate::support::{Agentbus, eventually, times, within};

const HICCUP: &str = "502 Bad Gateway\r\n";
const BUSY: &str = "503 Service Unavailable\r\nretry-after: 1\r\n";

/// The next message's number.
async fn next(stream: &mut Subscription) -> usize {
    loop {
        match within(LIMIT, "an event", stream.next()).await.expect("a stream") {
            Event::Message(message) => {
                return message.parse().expect("a message").content.parse().expect("a number");
            }
            Event::Gap(gap) => panic!("{gap}"),
            Event::CaughtUp => {}
        }
    }
}

/// Reads this many messages, and checks that each comes once and in order. Counts them in `read`.
fn reads_in_order(
    mut stream: Subscription,
    count: usize,
    read: Arc<AtomicUsize>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        for expected in 0..count {
            assert_eq!(next(&mut stream).await, expected);
            read.store(expected + 1, Ordering::SeqCst);
        }
    })
}

async fn send(client: &Client, numbers: std::ops::Range<usize>) {
    let messages: Vec<NewMessage> = numbers.map(note).collect();
    let outcomes = client.send_many(&messages, AckLevel::Stored).await.expect("sent");
    assert_eq!(outcomes.len(), messages.len());
}

#[tokio::test]
async fn a_stream_and_its_sender_survive_every_failure_without_a_loss_or_repeat() {
    const PART: usize = 60;
    const FAULTS: usize = 6;
    let far = Far::start().await;
    let rounds = times(2, 20);
    let count = rounds * FAULTS * PART;
    let client = far.client.clone().retry_for(Duration::MAX);
    let (read, read_near) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stream = client.stream(Filter::new(), Start::Beginning);
    let from_start = reads_in_order(stream, count, read.clone());
    let stream = far.near().stream(Filter::new(), Start::At(1));
    let from_one = reads_in_order(stream, count, read_near.clone());
    // The sender sends one part during each fault.
    let (parts, sent) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (next_part, sent_parts) = (parts.clone(), sent.clone());
    let sending = tokio::spawn(async move {
        for at in 0..rounds * FAULTS {
            next_part.acquire().await.expect("open").forget();
            send(&client, at * PART..(at + 1) * PART).await;
            sent_parts.store(at + 1, Ordering::SeqCst);
        }
    });
    let hits = async |head: &'static str| {
        parts.add_permits(1);
        far.proxy.answer(head);
        let faults = far.proxy.faults();
        eventually(LIMIT, head, async || (far.proxy.faults() > faults).then_some(())).await;
    };
    for round in 1..=rounds {
        parts.add_permits(1);
        far.server.kill9();
        far.server.restart().await;
        parts.add_permits(1);
        far.proxy.cut();
        hits(HICCUP).await;
        hits(BUSY).await;
        parts.add_permits(1);
        far.proxy.open();
        parts.add_permits(1);
        far.server.terminate().await;
        far.server.restart().await;
        let through = round * FAULTS * PART;
        for reader in [&read, &read_near] {
            let reached = || reader.load(Ordering::SeqCst) == through;
            eventually(LIMIT, "all is read", async || reached().then_some(())).await;
        }
        let all_sent = || sent.load(Ordering::SeqCst) == round * FAULTS;
        eventually(LIMIT, "all is sent", async || all_sent().then_some(())).await;
    }
    within(LIMIT, "all is sent", sending).await.expect("no panic");
    within(LIMIT, "all is read", from_start).await.expect("no panic");
    within(LIMIT, "all is read", from_one).await.expect("no panic");
    assert!(far.notices.count("reconnected") > 0, "{:?}", far.notices.0.lock());
}

#[tokio::test]
async fn a_half_open_connection_is_found_by_its_silence() {
    let far = Far::start().await;
    let client = far.client.clone().silence(Duration::from_millis(500));
    let mut stream = client.stream(Filter::new(), Start::Beginning);
    send(&far.near(), 0..1).await;
    assert_eq!(next(&mut stream).await, 0);
    far.proxy.block();
    send(&far.near(), 1..2).await;
    let reads = tokio::spawn(async move { next(&mut stream).await });
    let silent = || far.notices.count("no heartbeat") > 0;
    eventually(LIMIT, "the silence is noticed", async || silent().then_some(())).await;
    far.proxy.open();
    assert_eq!(within(LIMIT, "a message", reads).await.expect("no panic"), 1);
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    let mut stream = client.stream(Filter::new().sender("ann"), Start::Beginning);
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        for n in 0..300 {
            sender.send(&note(n)).await.expect("sent");
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 300 {
        // Most of these waits end in the middle of something.
        let waited = tokio::time::timeout(Duration::from_micros(300), stream.next()).await;
        if let Event::Message(message) = waited.unwrap_or(Ok(Event::CaughtUp)).expect("a stream") {
            seen.push(
                message.parse().expect("a message").content.parse::<usize>().expect("a number"),
            );
        }
    }
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    sending.await.expect("no panic");
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    let mut stream = client.stream(Filter::new(), Start::Beginning);
    send(&client, 0..1).await;
    assert_eq!(next(&mut stream).await, 0);
    // Far more than the buffers between server and reader hold.
    let large = |n: usize| note(n).metadata("filler", "x".repeat(50_000).into());
    let messages: Vec<_> = (1..400).map(large).collect();
    client.send_many(&messages, AckLevel::Committed).await.expect("sent");
    for expected in 1..400 {
        assert_eq!(next(&mut stream).await, expected);
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_its_position() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    send(&client, 0..5).await;
    let mut stream = client.stream(Filter::new(), Start::Beginning);
    assert_eq!(stream.position(), None);
    assert_eq!((next(&mut stream).await, next(&mut stream).await), (0, 1));
    let many = within(LIMIT, "events", stream.next_many()).await.expect("a stream");
    assert!(!many.is_empty());
    let mut later = client.stream(Filter::new(), Start::After(2));
    assert_eq!(next(&mut later).await, 2);
    assert_eq!(later.position().map(|seq| seq >= 3), Some(true));
}

#[tokio::test]
async fn what_is_wrong_with_the_request_ends_the_stream() {
    let far = Far::start().await;
    let mut stream = far.client.stream(Filter::new().sender("a b"), Start::Now);
    let refused = within(LIMIT, "an answer", stream.next()).await.expect_err("refused");
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Invalid, Some("invalid_parameter")));
    // Also after a connection: a proxy that knows no such place any more.
    let mut stream = far.client.stream(Filter::new(), Start::Beginning);
    send(&far.near(), 0..1).await;
    assert_eq!(next(&mut stream).await, 0);
    far.proxy.answer("404 Not Found\r\n");
    let gone = loop {
        match within(LIMIT, "an answer", stream.next()).await {
            Ok(event) => assert_eq!(event, Event::CaughtUp),
            Err(error) => break error,
        }
    };
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_server_that_was_never_there_is_an_error() {
    let client = Client::new("http://127.0.0.1:9").expect("a client").retry_for(Duration::ZERO);
    let error = client.stream(Filter::new(), Start::Now).next().await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Connection);
}
