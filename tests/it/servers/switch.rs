//! One log on one PostgreSQL, while its bus is switched by configuration in both directions.

use std::time::Duration;

use crate::support::agentbus::Builder;
use crate::support::records::{self, Record};
use crate::support::wire;
use crate::support::{Agentbus, Frame, Http, Nats, Postgres};
use async_nats::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

/// The NATS server and the database.
struct Both {
    nats: Nats,
    pg_url: String,
}

impl Both {
    async fn new() -> Self {
        Self { nats: Nats::start().await, pg_url: Postgres::shared().await.database().await }
    }

    fn on_nats(&self) -> Builder {
        Agentbus::builder().nats(&self.nats.url(), &self.pg_url)
    }

    fn on_memory(&self) -> Builder {
        // The server needs the address of NATS to switch away from it.
        self.on_nats().env("MESSAGE_BUS", "memory")
    }

    /// Publishes with ids as another NATS client; returns ids and sequences.
    async fn publish_foreign(&self, count: usize) -> Vec<(Uuid, u64)> {
        let jetstream = self.nats.jetstream().await;
        let mut published = Vec::new();
        for n in 0..count {
            let (id, mut headers) = (Uuid::new_v4(), HeaderMap::new());
            headers.insert("Nats-Msg-Id", id.to_string());
            let payload = format!("foreign {n}").into();
            let sent = jetstream.publish_with_headers("agent.task.T1.note", headers, payload).await;
            let ack = sent.expect("publish").await.expect("the stream takes it");
            published.push((id, ack.sequence));
        }
        published
    }
}

fn message(content: &str) -> Value {
    json!({"id": Uuid::new_v4(), "kind": "message", "type": "note", "sender_id": "bob", "content": content})
}

fn messages(what: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| message(&format!("{what} {n}"))).collect()
}

/// Posts the messages as one batch; returns their sequences.
async fn post(http: &Http, messages: &[Value]) -> Vec<u64> {
    let answer = http.post_ndjson("/v1/messages/batch", messages).await.expect(200).json();
    assert_eq!(answer["accepted"], messages.len(), "{answer}");
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|result| result["seq"].as_u64().expect("a sequence")).collect()
}

fn last(seqs: &[u64]) -> u64 {
    *seqs.last().expect("some")
}

/// Fails the test unless history has each of these ids exactly once, at its sequence.
fn assert_once(log: &[Record], expected: impl IntoIterator<Item = (String, u64)>) {
    for (id, seq) in expected {
        let at = log.iter().filter(|line| line.json()["id"] == id.as_str());
        assert_eq!(at.map(|line| line.seq).collect::<Vec<_>>(), [seq], "{id}");
    }
}

fn ids(messages: &[Value]) -> impl Iterator<Item = String> {
    messages.iter().map(|message| message["id"].as_str().expect("an id").to_owned())
}

/// The messages of a stream until it has caught up, and its gaps as `from`, `to` and reason.
async fn replayed(http: &Http, query: &str, after: Option<u64>) -> (Vec<Record>, Vec<Value>) {
    let mut stream = http.stream(query, after).await;
    let frames = stream.until(LIMIT, |frame| frame.is("caught_up")).await;
    let gaps = frames.iter().filter(|frame| frame.is("gap")).map(Frame::json).collect();
    (frames.iter().filter(|frame| frame.is_message()).map(Record::of).collect(), gaps)
}

#[tokio::test]
async fn a_log_continues_through_every_switch() {
    let both = Both::new().await;
    let (mut sent, mut seqs, mut cursors) = (Vec::new(), Vec::new(), Vec::new());
    let mut before: Vec<Record> = Vec::new();
    for (round, nats) in [false, true, false, true, true, false].into_iter().enumerate() {
        let builder = if nats { both.on_nats() } else { both.on_memory() };
        let agentbus = builder.start().await;
        let http = agentbus.http();
        let status = http.get("/v1/status").await.expect(200).json();
        assert_eq!(status["bus"], if nats { "nats" } else { "memory" });
        let more = messages(&format!("round {round}"), 25);
        seqs.extend(post(&http, &more).await);
        sent.extend(more);
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "sequences go on");
        wire::committed(&http, last(&seqs)).await;

        let log = records::history(&http, "").await;
        assert_eq!(records::seqs(&log), seqs, "nothing is lost");
        records::assert_same("what was there before", &log[..before.len()], &before);
        assert_once(&log, ids(&sent).zip(seqs.iter().copied()));
        assert_eq!(post(&http, &sent[..1000.min(sent.len())]).await, seqs, "ids stay known");
        let mut other = sent[0].clone();
        other["content"] = json!("other");
        http.post_json("/v1/messages", &other).await.expect(409);

        // Cursors of clients that were connected before the switch.
        for cursor in [0].iter().chain(&cursors) {
            let (replay, gaps) = replayed(&http, "", Some(*cursor)).await;
            records::assert_same(
                "after a cursor",
                &replay,
                &log[usize::try_from(*cursor).expect("small")..],
            );
            assert_eq!(gaps, [] as [Value; 0]);
        }
        let mut stream = http.stream(&format!("from={}", last(&seqs) - 9), None).await;
        records::take(&mut stream, 4, LIMIT).await;
        cursors.push(stream.last_event_id().expect("a cursor"));
        before = log;
        if round % 2 == 0 {
            agentbus.terminate().await;
        } else {
            agentbus.kill9()
        }
    }
}

#[tokio::test]
async fn a_server_with_the_other_bus_does_not_start_beside_a_running_one() {
    let both = Both::new().await;
    let on_nats = both.on_nats().start().await;
    let refusal = both.on_memory().expect_refusal().await;
    assert!(
        refusal.contains("another agentbus server is running") && refusal.contains("nats"),
        "{refusal}"
    );
    let refusal = both.on_memory().arg("--abandon-tail").expect_refusal().await;
    assert!(refusal.contains("another agentbus server is running"), "{refusal}");
    assert_eq!(post(&on_nats.http(), &messages("still here", 3)).await, [1, 2, 3]);
    on_nats.kill9();

    let on_memory = both.on_memory().start().await;
    for builder in [both.on_nats(), both.on_memory()] {
        let refusal = builder.expect_refusal().await;
        assert!(refusal.contains("another agentbus server is running"), "{refusal}");
        assert!(refusal.contains("MESSAGE_BUS=memory"), "{refusal}");
    }
    assert_eq!(post(&on_memory.http(), &messages("still here", 3)).await, [4, 5, 6]);
    on_memory.kill9();
    let on_nats = both.on_nats().start().await;
    assert_eq!(post(&on_nats.http(), &messages("still here", 3)).await, [7, 8, 9]);
}

#[tokio::test]
async fn leaving_nats_first_stores_what_the_stream_still_has() {
    let both = Both::new().await;
    let on_nats = both.on_nats().start().await;
    let mut live = on_nats.http().stream("", None).await;
    live.expect_ready().await;
    let sent = messages("acknowledged, then killed", 500);
    let seqs = post(&on_nats.http(), &sent).await;
    on_nats.kill9();
    let foreign = both.publish_foreign(60).await;
    assert_eq!(foreign[0].1, 501);

    let on_memory = both.on_memory().start().await;
    let http = on_memory.http();
    let log = records::history(&http, "").await;
    assert_eq!(records::seqs(&log), (1..=560).collect::<Vec<_>>());
    assert_once(&log, ids(&sent).zip(seqs));
    assert_once(&log, foreign.iter().map(|(id, seq)| (id.to_string(), *seq)));
    assert_eq!(log[500].json()["content"], "foreign 0");
    assert_eq!(post(&http, &messages("continues", 2)).await, [561, 562]);
    let (replay, gaps) = replayed(&http, "from=start", None).await;
    records::assert_same("replay", &replay[..560], &log);
    assert_eq!((replay.len(), gaps.len()), (562, 0));
    on_memory.terminate().await;
    let on_nats = both.on_nats().start().await;
    assert_eq!(post(&on_nats.http(), &messages("and on", 2)).await, [563, 564]);
    records::assert_same(
        "on NATS again",
        &records::history(&on_nats.http(), "").await[..560],
        &log,
    );
}

#[tokio::test]
async fn messages_abandoned_on_nats_are_a_gap_and_are_stored_on_return() {
    let both = Both::new().await;
    let on_nats = both.on_nats().start().await;
    let (mut sent, mut seqs) = (messages("before", 20), Vec::new());
    seqs.extend(post(&on_nats.http(), &sent).await);
    wire::committed(&on_nats.http(), 20).await;
    on_nats.terminate().await;
    let tail = both.publish_foreign(30).await;
    assert_eq!(tail[29].1, 50);
    both.nats.stop_gracefully().await;

    let refusal = both.on_memory().expect_refusal().await;
    assert!(refusal.contains("--abandon-tail"), "{refusal}");
    let on_memory = both.on_memory().arg("--abandon-tail").start().await;
    let http = on_memory.http();
    let more = messages("without NATS", 20);
    let jumped = post(&http, &more).await;
    assert!(jumped[0] > 50, "a sequence of the tail was given again: {}", jumped[0]);
    assert!(jumped[0] < 1 << 53);
    let gap = |from: u64| json!({"from": from, "to": jumped[0] - 1, "reason": "abandoned"});
    // From the start, for a client that knows everything except the tail, and for one that knows a part
    // of the tail.
    for (query, after, from, skipped) in [
        ("from=start", None, 21, 0),
        ("", Some(20), 21, 20),
        ("", Some(33), 34, 20),
        ("from=40", None, 40, 20),
    ] {
        let (replay, gaps) = replayed(&http, query, after).await;
        assert_eq!(gaps, [gap(from)], "?{query} after {after:?}");
        let expected: Vec<u64> = (1..=20).chain(jumped.iter().copied()).skip(skipped).collect();
        assert_eq!(records::seqs(&replay), expected);
    }
    sent.extend(more);
    seqs.extend(&jumped);
    on_memory.terminate().await;
    // The log has left NATS already, so the server does not contact NATS again.
    let on_memory = both.on_memory().start().await;
    assert_eq!(post(&on_memory.http(), &sent).await, seqs);
    on_memory.kill9();

    both.nats.restart().await;
    let mut returned: Option<Vec<Record>> = None;
    for round in 0..2 {
        let on_nats = both.on_nats().start().await;
        let http = on_nats.http();
        let more = messages(&format!("on NATS again {round}"), 20);
        let newest = post(&http, &more).await;
        assert!(newest[0] > last(&seqs) + if round == 0 { 30 } else { 0 });
        seqs.extend(newest);
        sent.extend(more);
        wire::committed(&http, last(&seqs)).await;
        let log = records::history(&http, "").await;
        assert_eq!(log.len(), sent.len() + tail.len(), "lost or duplicate");
        assert_once(&log, ids(&sent).zip(seqs.iter().copied()));
        let again = |line: &&Record| tail.iter().any(|(id, _)| line.json()["id"] == id.to_string());
        let again: Vec<Record> = log.iter().filter(again).cloned().collect();
        assert_eq!(again.len(), tail.len(), "what was stranded is there once");
        assert!(again.iter().all(|line| line.seq > last(&jumped)), "under new sequences");
        for (n, (line, (id, _))) in again.iter().zip(&tail).enumerate() {
            assert_eq!(line.json()["id"], id.to_string(), "in their order");
            assert_eq!(line.json()["content"], format!("foreign {n}"));
        }
        records::assert_same("again", &again, returned.get_or_insert(again.clone()));
        let (replay, gaps) = replayed(&http, "from=start", None).await;
        records::assert_same("replay", &replay, &log);
        assert_eq!(gaps, [gap(21)]);
        on_nats.kill9();
    }
}

#[tokio::test]
async fn messages_published_on_nats_meanwhile_are_stored_on_return() {
    let both = Both::new().await;
    let on_nats = both.on_nats().start().await;
    let (mut sent, mut seqs) = (messages("before", 20), Vec::new());
    seqs.extend(post(&on_nats.http(), &sent).await);
    on_nats.terminate().await;
    let on_memory = both.on_memory().start().await;
    let more = messages("in memory", 50);
    seqs.extend(post(&on_memory.http(), &more).await);
    sent.extend(more);
    // In the stream these messages have sequences that the log uses for others.
    let stranded = both.publish_foreign(10).await;
    assert_eq!(stranded[0].1, 21);
    on_memory.terminate().await;

    let on_nats = both.on_nats().start().await;
    let http = on_nats.http();
    let more = messages("on NATS again", 5);
    seqs.extend(post(&http, &more).await);
    sent.extend(more);
    wire::committed(&http, last(&seqs)).await;
    let log = records::history(&http, "").await;
    assert_eq!(log.len(), sent.len() + stranded.len());
    assert_once(&log, ids(&sent).zip(seqs.iter().copied()));
    let expected = stranded.iter().enumerate().map(|(n, (id, _))| (id.to_string(), 71 + n as u64));
    assert_once(&log, expected);
    let (replay, gaps) = replayed(&http, "from=start", None).await;
    records::assert_same("replay", &replay, &log);
    assert_eq!(gaps, [] as [Value; 0]);
}
