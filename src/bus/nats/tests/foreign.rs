//! Messages of foreign publishers (NATS clients that are not agentbus) that async-nats cannot read.

use super::*;

/// Subject and header block of a message, and whether a delivery of it breaks a connection of async-nats
/// 0.51.
type Odd = (&'static [u8], Option<&'static [u8]>, bool);

const ODD: [Odd; 12] = [
    (b"agent.message.\xff\xfe.x", None, true),
    (b"agent.message.\xff\xfe.x", Some(b"NATS/1.0\r\na: b\r\n\r\n"), true),
    ("agent.message.a\u{3000}b.x".as_bytes(), None, false),
    ("agent.message.a\u{3000}b.x".as_bytes(), Some(b"NATS/1.0\r\na: b\r\n\r\n"), true),
    (b"agent.message.a.x", Some(b"NATS/1.0\r\na: \xff\r\n\r\n"), true),
    (b"agent.message.a.x", Some("NATS/1.0\r\n\u{e4}: b\r\n\r\n".as_bytes()), true),
    (b"agent.message.a.x", Some(b"NATS/1.0\r\nno colon\r\n\r\n"), true),
    (b"agent.message.a.x", Some(b"NATS/1.0\r\na: b\rc\r\n\r\n"), true),
    (b"agent.message.a.x", Some(b"NATS/1.0 abc\r\na: b\r\n\r\n"), true),
    (b"agent.message.a.x", Some(b"HTTP/1.0\r\na: b\r\n\r\n"), true),
    (b"agent.message.a.x", Some(b"NATS/1.0 409 Consumer Deleted\r\n\r\n"), false),
    (b"agent.message.a.x", Some(b"NATS/1.0 503\r\n\r\n"), false),
];

/// Whether one delivery of this message breaks an async-nats connection or its task.
async fn breaks_async_nats(server: &Server, subject: &[u8], headers: Option<&[u8]>) -> bool {
    use futures_util::StreamExt as _;
    let client = async_nats::connect(server.url()).await.expect("client");
    let mut all = client.subscribe("agent.>").await.expect("subscribed");
    // The client receives its own message, so the server has the subscription.
    client.publish("agent.first", "x".into()).await.expect("sent");
    within("the subscription works", all.next()).await.expect("there");
    server.publish_raw(subject, headers, b"odd");
    let came = tokio::time::timeout(Duration::from_millis(500), all.next()).await;
    !matches!(came, Ok(Some(_)))
}

#[tokio::test]
async fn async_nats_breaks_at_the_messages_marked() {
    let server = server_or_return!();
    for (number, (subject, headers, breaks)) in ODD.into_iter().enumerate() {
        assert_eq!(breaks_async_nats(&server, subject, headers).await, breaks, "{number}");
    }
}

#[tokio::test]
async fn odd_entries_are_read_as_all_others() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    for (subject, headers, _) in ODD {
        publish_one(&bus, message("good")).await.expect("acked");
        server.publish_raw(subject, headers, b"odd");
    }
    let last = 2 * ODD.len() as u64;
    let mut reader = bus.reader(1).await.expect("reader");
    let entries = read_through(&mut *reader, last).await;
    assert_eq!(seqs(&entries), (1..=last).collect::<Vec<u64>>());
    for entry in &entries {
        let alone = bus.get(entry.seq).await.expect("asked").expect("there");
        assert_eq!((&alone.subject, &alone.headers), (&entry.subject, &entry.headers));
        assert_eq!((&alone.payload, alone.logged_at), (&entry.payload, entry.logged_at));
    }
    assert_eq!(entries[1].subject.as_str(), "agent.message.\u{fffd}\u{fffd}.x");
    assert_eq!(entries[9].headers, [("a".to_owned(), "\u{fffd}".to_owned())]);
    assert_eq!(entries[11].headers, [("\u{e4}".to_owned(), "b".to_owned())]);
    assert_eq!(*bus.suspicions().borrow(), 0, "publishing is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_entries_do_not_stop_live_readers() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    let mut readers = Vec::new();
    let (sender, mut read) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..3 {
        let (mut reader, sender) = (bus.reader(1).await.expect("reader"), sender.clone());
        readers.push(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let batch = reader.next().await.expect("reads");
                sender.send((number, seqs(&batch))).expect("the test goes on");
            }
        })));
    }
    let mut seen = vec![Vec::new(); 3];
    for (round, (subject, headers, _)) in ODD.into_iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let since = tokio::time::Instant::now();
        server.publish_raw(subject, headers, b"odd");
        publish_one(&bus, message("good")).await.expect("acked");
        let expected: Vec<u64> = (1..=2 * (round as u64 + 1)).collect();
        within("all readers have both", async {
            while seen.iter().any(|seen| *seen != expected) {
                let (number, batch) = read.recv().await.expect("readers run");
                seen[number].extend(batch);
            }
        })
        .await;
        eprintln!(
            "odd entry {:?} took {:?}",
            headers.map(String::from_utf8_lossy),
            since.elapsed()
        );
    }
}

#[tokio::test]
async fn a_thousand_odd_entries_in_a_row_are_read() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    publish_one(&bus, message("good")).await.expect("acked");
    for _ in 0..1_000 {
        server.publish_raw(b"agent.message.a.x", Some(b"NATS/1.0\r\na: \xff\r\n\r\n"), b"odd");
    }
    publish_one(&bus, message("good")).await.expect("acked");
    let since = tokio::time::Instant::now();
    let mut reader = bus.reader(1).await.expect("reader");
    let entries = read_through(&mut *reader, 1_002).await;
    assert_eq!(seqs(&entries), (1..=1_002).collect::<Vec<u64>>());
    eprintln!("1,000 odd entries took {:?}", since.elapsed());
}
