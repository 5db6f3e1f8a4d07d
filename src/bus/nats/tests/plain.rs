//! The NATS bus without faults.

use super::*;
use crate::bus::{Bounds, BusError, PublishError};

#[tokio::test]
async fn publishes_reads_and_recognises_duplicates() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    assert_eq!(bus.degradations(), [""; 0], "a new stream lacks nothing");
    let identity = bus.identity().await.expect("identity");
    assert_eq!(identity.bounds, Bounds { first: 1, last: 0 });
    assert!(identity.epoch.is_some());
    assert_eq!(bus.dedup_window(), Some(Duration::from_secs(120)));
    assert!(bus.get(1).await.expect("asked").is_none());

    let first = message("one");
    let ack = publish_one(&bus, first.clone()).await.expect("acked");
    assert_eq!((ack.seq, ack.duplicate, ack.committed), (1, false, false));
    let again = publish_one(&bus, first.clone()).await.expect("acked");
    assert_eq!((again.seq, again.duplicate), (1, true));

    let batch = messages(2_500);
    let acks: Vec<u64> =
        bus.publish(batch.clone()).await.into_iter().map(|a| a.expect("acked").seq).collect();
    assert_eq!(acks, (2..=2_501).collect::<Vec<u64>>());

    let mut reader = bus.reader(1).await.expect("reader");
    let entries = read_through(&mut *reader, 2_501).await;
    assert_eq!(seqs(&entries), (1..=2_501).collect::<Vec<u64>>());
    assert_eq!(payload(&entries[0]), first.body);
    assert_eq!(entries[0].subject.as_str(), "agent.task.t1.step");
    assert_eq!(
        entries[0].headers.len(),
        2,
        "headers by which decode recognises ours: {:?}",
        entries[0].headers
    );
    assert!((crate::clock::Clock::system().now() - entries[0].logged_at).num_seconds() < 60);

    let admin =
        async_nats::jetstream::new(async_nats::connect(server.url()).await.expect("client"));
    let mut stream = admin.get_stream("agent-messages").await.expect("stream");
    let consumers = stream.info().await.expect("info").state.consumer_count;
    assert_eq!(consumers, 1, "one session read it all");

    let got = bus.get(1).await.expect("asked").expect("there");
    assert_eq!(
        (got.seq, &got.subject, &got.headers),
        (1, &entries[0].subject, &entries[0].headers)
    );
    assert_eq!((payload(&got), got.logged_at), (payload(&entries[0]), entries[0].logged_at));
    eventually("no entry is left behind", || bus.requester.awaited() == 0).await;
}

#[tokio::test]
async fn a_reader_waits_at_the_end_and_returns_a_new_message_at_once() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    publish_one(&bus, message("1")).await.expect("acked");
    let mut reader = bus.reader(3).await.expect("reader");
    {
        let early = tokio::time::timeout(Duration::from_millis(300), reader.next());
        assert!(early.await.is_err(), "nothing there");
    }
    publish_one(&bus, message("2")).await.expect("acked");
    publish_one(&bus, message("3")).await.expect("acked");
    assert_eq!(seqs(&read_through(&mut *reader, 3).await), [3]);
    for seq in 4..20 {
        let since = tokio::time::Instant::now();
        publish_one(&bus, message("x")).await.expect("acked");
        assert_eq!(seqs(&read_through(&mut *reader, seq).await), [seq]);
        assert!(since.elapsed() < Duration::from_millis(500), "no linger");
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_not_sent_and_fails_no_other() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    let long = message(&"x".repeat(1_048_576));
    let batch = vec![message("a"), long, message("b")];
    let outcomes = bus.publish(batch).await;
    assert_eq!(outcomes[0].as_ref().map(|ack| ack.seq), Ok(1));
    assert!(matches!(&outcomes[1], Err(PublishError::NotSent(_))), "{outcomes:?}");
    assert_eq!(outcomes[2].as_ref().map(|ack| ack.seq), Ok(2));
    let fits = message(&"x".repeat(1_048_576 - 4_096 - 400));
    for seq in 3..=12 {
        assert_eq!(publish_one(&bus, with_new_id(&fits)).await.map(|ack| ack.seq), Ok(seq));
    }
    let mut reader = bus.reader(1).await.expect("reader");
    assert_eq!(seqs(&read_through(&mut *reader, 12).await), (1..=12).collect::<Vec<u64>>());
    assert_eq!(bus.get(12).await.expect("asked").expect("there").payload.len(), fits.body.len());
    assert_eq!(*bus.suspicions().borrow(), 0);
}

#[tokio::test]
async fn entries_longer_than_a_pull_are_read() {
    let Some(server) = Server::start_with("max_payload: 8388608").await else { return };
    let bus = bus(&server).await;
    let admin =
        async_nats::jetstream::new(async_nats::connect(server.url()).await.expect("client"));
    let mut stream = admin.get_stream("agent-messages").await.expect("stream");
    let mut config = stream.info().await.expect("info").config.clone();
    config.max_message_size = -1;
    admin.update_stream(config).await.expect("updated");
    for size in [10, 6 << 20, 5 << 20, 10, 7 << 20, 20] {
        let body = Bytes::from(vec![b'x'; size]);
        admin.publish("agent.task.t.x", body).await.expect("sent").await.expect("acked");
    }
    let mut reader = bus.reader(1).await.expect("reader");
    let entries = read_through(&mut *reader, 6).await;
    assert_eq!(seqs(&entries), [1, 2, 3, 4, 5, 6]);
    assert_eq!(entries[4].payload.len(), 7 << 20);
}

#[tokio::test]
async fn an_existing_stream_is_changed_only_by_fix_stream() {
    let server = server_or_return!();
    let admin =
        async_nats::jetstream::new(async_nats::connect(server.url()).await.expect("client"));
    let theirs = async_nats::jetstream::stream::Config {
        name: "agent-messages".to_owned(),
        subjects: vec!["agent.message.>".to_owned(), "agent.status.>".to_owned()],
        duplicate_window: Duration::from_secs(10),
        max_age: Duration::from_secs(3_600),
        ..Default::default()
    };
    admin.create_stream(theirs.clone()).await.expect("created");
    let refused = NatsBus::connect(config(&server)).await.err();
    assert_eq!(
        refused,
        Some(BusError("stream agent-messages does not take subject agent.task.>".to_owned()))
    );
    let mut theirs = theirs;
    theirs.subjects.push("agent.task.>".to_owned());
    admin.update_stream(theirs).await.expect("updated");
    let degraded = bus(&server).await;
    let reported = degraded.degradations();
    let line = "stream agent-messages: duplicate_window is 10s, configured 120s".to_owned();
    assert!(reported.contains(&line), "{reported:?}");
    assert_eq!(degraded.dedup_window(), Some(Duration::from_secs(10)));
    assert_eq!(degraded.identity().await.expect("identity").epoch, None);
    assert_eq!(publish_one(&degraded, message("x")).await.map(|ack| ack.seq), Ok(1));

    let left = crate::bus::nats::fix_stream(&config(&server)).await.expect("fixed");
    let only = "stream agent-messages: max_msgs is unlimited, configured 1000000";
    assert_eq!(left.iter().map(ToString::to_string).collect::<Vec<_>>(), [only]);
    let identity = degraded.identity().await.expect("identity");
    assert!(identity.epoch.is_some());
    assert_eq!(identity.bounds, Bounds { first: 1, last: 1 });
    assert_eq!(degraded.dedup_window(), Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn servers_that_create_the_stream_at_once_agree_on_one() {
    let server = server_or_return!();
    let start = || NatsBus::connect(config(&server));
    let (a, b, c, d) = tokio::join!(start(), start(), start(), start());
    let mut epochs = Vec::new();
    for bus in [a, b, c, d] {
        let bus = bus.expect("connects");
        assert_eq!(bus.degradations(), [""; 0]);
        epochs.push(bus.identity().await.expect("identity").epoch.expect("epoch"));
    }
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]));
}

#[tokio::test]
async fn the_sequence_moves_on_and_a_tail_is_written_back() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    publish_one(&bus, message("1")).await.expect("acked");
    assert_eq!(bus.purge_to(10, false).await, Ok(Bounds { first: 10, last: 9 }));
    assert!(bus.purge_to(10, false).await.is_err());
    assert!(bus.purge_to(5, false).await.is_err());
    let entry = LogEntry {
        seq: 10,
        subject: crate::message::Subject::from_log("agent.task.t.x".to_owned()),
        headers: vec![
            ("Agent-Sender".to_owned(), "s".to_owned()),
            ("b\u{e4}d".to_owned(), "x".to_owned()),
        ],
        payload: Bytes::from_static(b"{}"),
        logged_at: crate::clock::Clock::system().now(),
    };
    assert!(matches!(bus.publish_original(&entry, 8).await, Err(PublishError::NotSent(_))));
    assert_eq!(bus.publish_original(&entry, 9).await.map(|ack| ack.seq), Ok(10));
    let read = bus.get(10).await.expect("asked").expect("there");
    assert_eq!(read.header("Agent-Sender"), Some("s"));
    let mut reader = bus.reader(1).await.expect("reader");
    assert_eq!(seqs(&read_through(&mut *reader, 10).await), [10], "the caller sees the jump");
}

#[tokio::test]
async fn fill_is_counted_by_messages() {
    let server = server_or_return!();
    let mut small = config(&server);
    small.max_msgs = 100;
    let bus = NatsBus::connect(small).await.expect("connects");
    for outcome in bus.publish(messages(50)).await {
        outcome.expect("acked");
    }
    assert!((bus.uncommitted_share(0) - 0.5).abs() < 1e-9);
    assert!((bus.uncommitted_share(40) - 0.1).abs() < 1e-9);
    assert!(bus.uncommitted_share(50) < 1e-9);
}

#[tokio::test]
async fn the_documented_permissions_are_enough_and_credentials_are_used() {
    let permissions = r#"
        authorization { users: [
            { user: admin, password: "s3" }
            { user: bus, password: "s3", permissions: {
                subscribe: ["_INBOX.>"]
                publish: ["agent.message.>", "agent.status.>", "agent.task.>"
                    "$JS.API.STREAM.INFO.agent-messages", "$JS.API.STREAM.MSG.GET.agent-messages"
                    "$JS.API.CONSUMER.CREATE.agent-messages.*", "$JS.API.CONSUMER.MSG.NEXT.agent-messages.*"]
            } }
        ] }"#;
    let Some(server) = Server::start_with(permissions).await else { return };
    let as_user = |user: &str| {
        let mut config = config(&server);
        (config.user, config.password) = (Some(user.to_owned()), Some("s3".to_owned()));
        config
    };
    let refused = NatsBus::connect(config(&server)).await.err();
    assert!(refused.is_some_and(|error| error.0.contains("authorization")));
    NatsBus::connect(as_user("admin")).await.expect("creates the stream");
    let bus = NatsBus::connect(as_user("bus")).await.expect("finds the stream");
    publish_one(&bus, message("1")).await.expect("acked");
    server.publish_raw_as(
        "admin",
        "s3",
        b"agent.task.t.x",
        Some(b"NATS/1.0\r\na: \xff\r\n\r\n"),
        b"odd",
    );
    let mut reader = bus.reader(1).await.expect("reader");
    assert_eq!(seqs(&read_through(&mut *reader, 2).await), [1, 2]);
    assert!(bus.get(2).await.expect("asked").is_some());
}
