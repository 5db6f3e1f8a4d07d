//! A lost tail is written back with its old sequences, and no other client can publish meanwhile.

use serde_json::{Value, json};

use super::*;
use crate::bus::PublishError;
use crate::message::{Subject, decode};

fn entry(seq: u64, foreign: bool) -> LogEntry {
    let native = [("Agentbus", "1"), ("Nats-Msg-Id", "7d9f1c5e-33a4-4a7b-9a1c-6f6f1c5e33a4")];
    let odd = [("Nats-Msg-Id", "same for all"), ("Agent-Sender", "s"), ("Nats-TTL", "1s")];
    let headers = if foreign { odd.to_vec() } else { native.to_vec() };
    LogEntry {
        seq,
        subject: Subject::from_log(format!("agent.task.t{seq}.x")),
        headers: headers.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
        payload: Bytes::from(format!("{{\"id\":\"{}\"}}", Uuid::nil())),
        logged_at: "2026-01-02T03:04:05.678901234Z".parse().expect("a time"),
    }
}

fn headers(raw: &LogEntry) -> Vec<(String, String)> {
    let mut headers = raw.headers.clone();
    headers.sort();
    headers
}

#[tokio::test]
async fn entries_are_written_back_unchanged_and_no_other_client_can_publish() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    for outcome in bus.publish(messages(3)).await {
        outcome.expect("acked");
    }
    let consumer = json!({
        "stream_name": "agent-messages",
        "config": {"durable_name": "d", "ack_policy": "explicit", "filter_subject": "agent.>"},
    });
    let made: Value = bus
        .requester
        .call("$JS.API.CONSUMER.DURABLE.CREATE.agent-messages.d", &consumer)
        .await
        .expect("a durable consumer");
    assert_eq!(made["config"]["filter_subject"], "agent.>");

    let mut writer = bus.begin_write_back(4).await.expect("begins");
    let refused = publish_one(&bus, message("from outside")).await;
    assert!(matches!(refused, Err(PublishError::NotSent(_))), "{refused:?}");
    assert!(bus.identity().await.expect("identity").write_back_pending);
    let entries: Vec<LogEntry> = (4..2_504).map(|seq| entry(seq, seq % 3 == 0)).collect();
    writer.put(&entries).await.expect("written");
    writer.skip_to(2_510).await.expect("skipped");
    writer.put(&[entry(2_510, true)]).await.expect("written");
    drop(writer);

    // Another server ends the write-back.
    let other = NatsBus::connect(config(&server)).await.expect("connects");
    assert!(other.identity().await.expect("identity").write_back_pending);
    assert!(other.begin_write_back(9).await.is_err(), "never over what is there");
    let mut writer = other.begin_write_back(2_511).await.expect("continues");
    writer.put(&[entry(2_511, true)]).await.expect("written");
    let identity = writer.end().await.expect("ended");
    assert!(!identity.write_back_pending);
    assert_eq!(identity.bounds, crate::bus::Bounds { first: 1, last: 2_511 });
    let info = other.requester.stream_info("agent-messages").await.expect("info");
    assert_eq!(info.parsed().expect("config").subjects.len(), 3);
    assert_eq!(publish_surely(&bus, &message("on")).await.seq, 2_512);

    let mut reader = other.reader(4).await.expect("reader");
    let mut read = read_through(&mut *reader, 2_511).await;
    // The reader may have returned later messages too.
    read.retain(|raw| raw.seq <= 2_511);
    let wanted: Vec<u64> = (4..2_504).chain([2_510, 2_511]).collect();
    assert!(seqs(&read) == wanted, "not the sequences that were written");
    for (read, foreign) in read.iter().map(|raw| (raw, raw.seq % 3 == 0 || raw.seq == 2_510)) {
        let was = entry(read.seq, foreign);
        assert_eq!(headers(read), headers(&was));
        assert_eq!((&read.subject, &read.payload), (&was.subject, &was.payload));
        assert_eq!(read.logged_at, was.logged_at);
        let (a, b) = (decode(read.clone(), "s"), decode(was, "s"));
        assert_eq!((a.body, a.id, a.created_at), (b.body, b.id, b.created_at));
        let got = other.get(read.seq).await.expect("asked").expect("there");
        assert_eq!(headers(&got), headers(read));
    }
}

#[tokio::test]
async fn a_wide_hole_is_skipped_by_dropping_the_entries_below() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    let mut writer = bus.begin_write_back(10).await.expect("begins");
    writer.put(&[entry(10, false)]).await.expect("written");
    writer.skip_to(1 << 40).await.expect("skipped");
    writer.put(&[entry(1 << 40, false)]).await.expect("written");
    let bounds = writer.end().await.expect("ended").bounds;
    assert_eq!((bounds.first, bounds.last), (1 << 40, 1 << 40));
}

#[tokio::test]
async fn the_loss_of_the_stream_is_noticed() {
    let server = server_or_return!();
    let bus = bus(&server).await;
    publish_one(&bus, message("1")).await.expect("acked");
    let epoch = bus.identity().await.expect("identity").epoch;
    let mut suspicions = bus.suspicions();
    tokio::time::sleep(crate::limits::NATS_VIEW_REFRESH).await;
    suspicions.borrow_and_update();
    let gone: Value = bus
        .requester
        .call("$JS.API.STREAM.DELETE.agent-messages", &Value::Null)
        .await
        .expect("deleted");
    assert_eq!(gone["success"], true);
    within("the loss is noticed", suspicions.changed()).await.expect("the bus is there");
    let made = bus.find_or_create().await.expect("created again");
    assert_eq!(made.bounds.last, 0);
    assert_ne!(made.epoch, epoch);
}
