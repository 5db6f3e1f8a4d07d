//! Messages that another NATS client publishes on agentbus's subjects (contract, section 1): each is stored,
//! has the same bytes on every path, and stops no reader.

use std::time::Duration;

use crate::support::records::{self, Record, assert_same};
use crate::support::wire;
use crate::support::{Agentbus, Deployment, Frame, Mode, Sse};
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);
/// Time limit for immediate delivery: far less than the 15 s of silence after which a heartbeat comes.
const AT_ONCE: Duration = Duration::from_secs(8);
/// A number of messages that `RING_SIZE=64` cannot keep, so that the store is read.
const MANY: usize = 100;
const ID: &str = "0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Two servers of one log, one with the smallest ring, and another client of its NATS.
struct World {
    // Must be dropped before the servers that it needs.
    small: Agentbus,
    deployment: Deployment,
    other: Context,
}

impl World {
    async fn start() -> Self {
        let deployment = Deployment::start(Mode::Nats).await;
        let small = deployment.agentbus().like().env("RING_SIZE", "64").start().await;
        let other = deployment.nats().expect("a NATS server").jetstream().await;
        Self { small, deployment, other }
    }

    async fn publish(&self, subject: &str, headers: Headers<'_>, payload: &[u8]) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        let sent =
            self.other.publish_with_headers(subject.to_owned(), map, payload.to_vec().into());
        let ack = sent.await.expect("publish").await.expect("the stream takes it");
        assert!(!ack.duplicate);
        ack.sequence
    }

    /// Calls `publish`, then publishes messages of our own. Fails the test unless all are read in order
    /// and with the same bytes on every path. Returns the messages of the other client.
    async fn read_everywhere(&self, publish: impl AsyncFnOnce(&Self) -> u64) -> Vec<Record> {
        let http = self.deployment.http();
        let mut live = http.stream("", None).await;
        let mut live_of_small = self.small.http().stream("", None).await;
        let before = live.expect_ready().await.id;
        assert_eq!(live_of_small.expect_ready().await.id, before);
        let last = publish(self).await;
        let own: Vec<Value> = (0..MANY).map(|n| message(&format!("own {n}"))).collect();
        let answer = http.post_ndjson("/v1/messages/batch", &own).await.expect(200).json();
        assert_eq!(answer["accepted"], MANY, "{answer}");
        let count = usize::try_from(last - before).expect("a count") + MANY;
        let lines = take(&mut live, count, LIMIT).await;
        assert_eq!(records::seqs(&lines), (before + 1..=before + count as u64).collect::<Vec<_>>());
        assert_same(
            "live on another server",
            &take(&mut live_of_small, count, LIMIT).await,
            &lines,
        );

        wire::committed(http, before + count as u64).await;
        assert_same("history", &records::history(http, "").await[before as usize..], &lines);
        let fresh = self.deployment.second_server().await;
        let servers =
            [("ring", http.clone()), ("small", self.small.http()), ("fresh", fresh.http())];
        for (name, server) in &servers {
            let mut from = server.stream(&format!("from={}", before + 1), None).await;
            assert_same(&format!("replay, {name}"), &take(&mut from, count, LIMIT).await, &lines);
            let mut resumed = server.stream("", Some(last - 1)).await;
            let after = (last - 1 - before) as usize;
            assert_same(
                &format!("resume, {name}"),
                &take(&mut resumed, count - after, LIMIT).await,
                &lines[after..],
            );
        }
        for line in &lines {
            let Some(id) = line.json()["id"].as_str().map(str::to_owned) else { continue };
            for (_, server) in &servers[1..] {
                let one = server.get(&format!("/v1/messages/{id}")).await.expect(200);
                assert_eq!(one.text(), line.text(), "by id");
            }
        }
        lines[..count - MANY].to_vec()
    }
}

/// The next messages of a stream, including those of other clients.
async fn take(stream: &mut Sse, count: usize, limit: Duration) -> Vec<Record> {
    stream.collect_messages(count, limit).await.iter().map(Record::of_foreign).collect()
}

fn message(content: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "own", "content": content})
}

#[tokio::test]
async fn a_marked_line_of_json_is_stored_byte_for_byte() {
    const BODIES: [&str; 6] = [
        r#"{"id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e01","kind":"task","type":"completed","subject":"agent.task.T1.completed","sender_id":"bob","task_id":"T1","content":"","metadata":{},"created_at":"2026-01-02T03:04:05.678901Z","priority":9,"trace":{"b":1,"a":[1.0,1e2]}}"#,
        r#"{ "new" : 1.50 , "id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e02", "kind":"task", "content":"\u00e9\/\ud83d\ude00 \u0041" }"#,
        r#"{"id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e03","kind":"task","type":12,"sender_id":null,"task_id":["odd"],"in_reply_to":"no","expires_at":{},"created_at":"yesterday"}"#,
        r#"{"id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e04","kind":"task","big":123456789012345678901234567890,"tab":"\t","nul":"\u0000","dup":1,"dup":2}"#,
        r#"{"subject":"agent.message.else.where","metadata":"a string","kind":"task"}"#,
        r#"{}"#,
    ];
    let world = World::start().await;
    let lines = world
        .read_everywhere(async |world| {
            let mut last = 0;
            for body in BODIES {
                last = world
                    .publish("agent.task.T1.completed", &[("Agentbus", "1")], body.as_bytes())
                    .await;
            }
            last
        })
        .await;
    for (line, body) in lines.iter().zip(BODIES) {
        let comma = if body == "{}" { "" } else { "," };
        assert_eq!(line.text(), format!("{{\"seq\":{}{comma}{}", line.seq, &body[1..]));
    }
}

#[tokio::test]
async fn an_unmarked_envelope_is_encoded_as_if_it_had_been_posted() {
    let world = World::start().await;
    let pretty = r#"{
        "content" : "h\u00e9 \"x\"", "metadata": { "z" : 1.0, "a" : [ 1e2, "\u0041" ] },
        "type": "note", "sender_id": "bob", "kind": "message"
    }"#;
    let status = r#"{"kind":"status","type":"online","sender_id":"bob"}"#;
    let whole = r#"{"id":"0192F0C4-7A1B-7C3D-8E4F-5A6B7C8D9EAA","kind":"task","type":"completed","subject":"agent.task.T1.completed","sender_id":"bob","task_id":"T1","recipient_id":"eve","content":"done","created_at":"2025-01-01T01:00:00.5+01:00"}"#;
    let lines = world
        .read_everywhere(async |world| {
            world
                .publish("agent.message.agent.note", &[("Nats-Msg-Id", ID)], pretty.as_bytes())
                .await;
            world
                .publish(
                    "agent.status.bob.online",
                    &[("Nats-Msg-Id", "no-uuid")],
                    status.as_bytes(),
                )
                .await;
            world.publish("agent.status.bob.online", &[], status.as_bytes()).await;
            world.publish("agent.task.T1.completed", &[], whole.as_bytes()).await
        })
        .await;
    let times = logged_at(&world, &lines).await;
    assert_eq!(
        lines[0].text(),
        format!(
            r#"{{"seq":{},"id":"{ID}","kind":"message","type":"note","subject":"agent.message.agent.note","sender_id":"bob","sender_role":"agent","content":"hé \"x\"","metadata":{{"z":1.0,"a":[1e2,"\u0041"]}},"created_at":"{}"}}"#,
            lines[0].seq, times[0]
        )
    );
    let ids: Vec<Uuid> = lines[1..3].iter().map(id_of).collect();
    assert_ne!(ids[0], ids[1], "derived of stream and sequence");
    for (at, id) in [1, 2].into_iter().zip(ids) {
        assert_eq!(id.get_version_num(), 5);
        assert_eq!(
            lines[at].text(),
            format!(
                r#"{{"seq":{},"id":"{id}","kind":"status","type":"online","subject":"agent.status.bob.online","sender_id":"bob","content":"","metadata":{{}},"created_at":"{}"}}"#,
                lines[at].seq, times[at]
            )
        );
    }
    assert_eq!(
        lines[3].text(),
        format!(
            r#"{{"seq":{},"id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9eaa","kind":"task","type":"completed","subject":"agent.task.T1.completed","sender_id":"bob","recipient_id":"eve","task_id":"T1","content":"done","metadata":{{}},"created_at":"2025-01-01T00:00:00.500000Z"}}"#,
            lines[3].seq
        )
    );
}

/// The stream's own timestamps, in the format of messages.
async fn logged_at(world: &World, lines: &[Record]) -> Vec<String> {
    let stream = world.other.get_stream("agent-messages").await.expect("the stream");
    let mut times = Vec::new();
    for line in lines {
        let raw = stream.get_raw_message(line.seq).await.expect("a message of the stream");
        let micros = i64::try_from(raw.time.unix_timestamp_nanos() / 1_000).expect("a time");
        let time = chrono::DateTime::from_timestamp_micros(micros).expect("a time");
        times.push(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    }
    times
}

fn id_of(line: &Record) -> Uuid {
    line.json()["id"].as_str().expect("an id").parse().expect("a UUID")
}

#[tokio::test]
async fn a_payload_that_is_no_envelope_is_stored_as_content() {
    let payloads: Vec<Vec<u8>> = [
        &b"plain text"[..],
        b"",
        b" ",
        b"two\nlines\r\n",
        "\u{feff}h\u{e9}llo \u{1f600} \u{2028} \u{7f}".as_bytes(),
        b"[1,2]",
        b"42",
        b"null",
        br#"{"hello":"world"}"#,
        br#"{"kind":"task","type":"done","sender_id":"bob","task_id":"T1","extra":1}"#,
        br#"{"kind":"task","type":"done","sender_id":"bob"}"#,
        br#"{"kind":"task","type":"two words","sender_id":"bob","task_id":"T1"}"#,
        br#"{"seq":5,"kind":"task","type":"done","sender_id":"bob","task_id":"T1"}"#,
        br#"{"kind":"task","type":"done","subject":"agent.task.T2.done","sender_id":"bob","task_id":"T1"}"#,
        br#"{"kind":"task","type":"done","sender_id":"bob","task_id":"T1","created_at":"noon"}"#,
        br#"{"kind":"task","type":"done","sender_id":"bob","task_id":"T1","content":"a\u0000b"}"#,
        br#"{"kind":"task","type":"done","sender_id":"bob","task_id":"T1"} trailing"#,
        br#"{"kind":"#,
        b"a\0b",
        b"\xff\xfe\x00\x01",
    ]
    .iter()
    .map(|payload| payload.to_vec())
    .chain([vec![b'x'; 1_048_576], vec![1; 1_000_000], vec![0; 1_000_000], vec![b'"'; 1_000_000]])
    .collect();
    let world = World::start().await;
    let lines = world
        .read_everywhere(async |world| {
            let mut last = 0;
            for payload in &payloads {
                last = world.publish("agent.task.T1.done", &[], payload).await;
            }
            last
        })
        .await;
    let times = logged_at(&world, &lines).await;
    for ((line, payload), time) in lines.iter().zip(&payloads).zip(times) {
        let (content, metadata) = match std::str::from_utf8(payload) {
            Ok(text) if !text.contains('\0') => (text.to_owned(), json!({})),
            _ => (BASE64.encode(payload), json!({"encoding": "base64"})),
        };
        let expected = json!({
            "seq": line.seq, "id": id_of(line), "kind": "task", "type": "done", "subject": "agent.task.T1.done",
            "sender_id": "unknown", "task_id": "T1", "content": content, "metadata": metadata, "created_at": time,
        });
        let found = line.json();
        assert!(found == expected, "{:.300}\n{:.300}", line.text(), expected.to_string());
        assert_eq!(id_of(line).get_version_num(), 5);
    }
}

#[tokio::test]
async fn marked_payloads_that_are_no_envelope_are_content_too() {
    const BODIES: [(&str, &str); 5] =
        [("1", "{\n}"), ("1", "[]"), ("1", "{\"a\":}"), ("1", "plain"), ("2", "{\"a\":1}")];
    let world = World::start().await;
    let lines = world
        .read_everywhere(async |world| {
            let mut last = 0;
            for (version, body) in BODIES {
                last = world
                    .publish("agent.status.bob.up", &[("Agentbus", version)], body.as_bytes())
                    .await;
            }
            last
        })
        .await;
    for (line, (_, body)) in lines.iter().zip(BODIES) {
        assert_eq!(line.json()["content"], body);
        assert_eq!(line.json()["sender_id"], "bob");
    }
}

#[tokio::test]
async fn kind_and_ids_come_from_the_subject_however_odd() {
    let long = format!("agent.status.{}.up", "x".repeat(65));
    // The subject, its type, and one more member: the role, sender or task.
    let cases: [(&str, Value, (&str, Value)); 12] = [
        ("agent.message.coder", json!("unknown"), ("sender_role", json!("coder"))),
        ("agent.status.bob", json!("unknown"), ("sender_id", json!("bob"))),
        ("agent.task.T1", json!("unknown"), ("task_id", json!("T1"))),
        ("agent.task.T1.done", json!("done"), ("task_id", json!("T1"))),
        ("agent.task.T1.done.five", json!("done"), ("task_id", json!("T1"))),
        ("agent.message.a.b.c.d.e.f", json!("b"), ("sender_role", json!("a"))),
        (
            "agent.message.gr\u{f6}\u{df}e.t\u{e4}st",
            json!("unknown"),
            ("sender_role", json!("unknown")),
        ),
        ("agent.task.a!b.c$d", json!("unknown"), ("task_id", json!("unknown"))),
        ("agent.task.\u{1f600}.up", json!("up"), ("task_id", json!("unknown"))),
        ("agent.task.\"q\\.x'y", json!("unknown"), ("task_id", json!("unknown"))),
        ("agent.status.bob.<b>", json!("unknown"), ("sender_id", json!("bob"))),
        (&long, json!("up"), ("sender_id", json!("unknown"))),
    ];
    let world = World::start().await;
    let lines = world
        .read_everywhere(async |world| {
            let mut last = 0;
            for (subject, ..) in &cases {
                last = world.publish(subject, &[], b"x").await;
            }
            last
        })
        .await;
    for (line, (subject, type_, (member, value))) in lines.iter().zip(&cases) {
        let found = line.json();
        assert_eq!(found["subject"], *subject, "{subject}");
        assert_eq!(found["kind"], subject.split('.').nth(1).expect("a second token"), "{subject}");
        assert_eq!((&found["type"], &found[member]), (type_, value), "{subject}");
    }
}

#[tokio::test]
async fn headers_name_the_sender_and_the_id() {
    let long = "x".repeat(65);
    // Headers, and the sender and id that result.
    let cases: [(Headers<'_>, &str, Option<&str>); 6] = [
        (&[("Agent-Sender", "bob")], "bob", None),
        (&[("Agent-Sender", "bob"), ("Nats-Msg-Id", ID)], "bob", Some(ID)),
        (
            &[("Nats-Msg-Id", "0192F0C4-7A1B-7C3D-8E4F-5A6B7C8D9EAA")],
            "unknown",
            Some("0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9eaa"),
        ),
        (&[("Agent-Sender", "two words"), ("Nats-Msg-Id", "abc")], "unknown", None),
        (&[("Agent-Sender", &long), ("X", "a"), ("X", "b"), ("x", "c")], "unknown", None),
        (&[("Agent-Sender", ""), ("Odd", "h\u{e9} \u{1f600}"), ("Empty", "")], "unknown", None),
    ];
    let world = World::start().await;
    let lines = world
        .read_everywhere(async |world| {
            let mut last = 0;
            for (headers, ..) in &cases {
                last = world.publish("agent.task.T1.done", headers, b"text").await;
            }
            last
        })
        .await;
    for (line, (_, sender, id)) in lines.iter().zip(&cases) {
        let found = line.json();
        assert_eq!((&found["sender_id"], &found["content"]), (&json!(sender), &json!("text")));
        match id {
            Some(id) => assert_eq!(found["id"], *id),
            None => assert_eq!(id_of(line).get_version_num(), 5),
        }
    }
}

#[tokio::test]
async fn subject_filters_use_the_nats_subject() {
    let world = World::start().await;
    let stated = r#"{"kind":"message","type":"where","subject":"agent.message.else.where","sender_id":"bob"}"#;
    let status = r#"{"kind":"status","type":"online","sender_id":"bob"}"#;
    let lines = world
        .read_everywhere(async |world| {
            world.publish("agent.task.T1.done", &[("Agentbus", "1")], stated.as_bytes()).await;
            world.publish("agent.message.x.y", &[], status.as_bytes()).await;
            world.publish("agent.task.T1.done.five", &[], b"text").await;
            world.publish("agent.task.gr\u{f6}\u{df}e.a!b", &[], b"text").await
        })
        .await;
    assert_eq!(lines[1].json()["kind"], "status", "{}", lines[1].text());
    assert_eq!(lines[1].json()["subject"], "agent.message.x.y");
    for (filter, expected) in [
        ("agent.task.T1.done", &[0][..]),
        ("agent.message.else.where", &[]),
        ("agent.message.x.y", &[1]),
        ("agent.status.>", &[]),
        ("agent.task.T1.done.*", &[2]),
        ("agent.task.*.done.>", &[2]),
        ("agent.task.>", &[0, 2, 3]),
        ("agent.task.*.*", &[0, 3]),
    ] {
        let expected: Vec<u64> = expected.iter().map(|&at: &usize| lines[at].seq).collect();
        let query = format!("subject={filter}");
        for http in [world.deployment.http().clone(), world.small.http()] {
            let found = records::history(&http, &query).await;
            assert_eq!(records::seqs(&found), expected, "{filter}");
            let mut stream = http.stream(&format!("{query}&from=start"), None).await;
            let frames = stream.until(AT_ONCE, |frame| frame.is("caught_up")).await;
            let seqs = frames.iter().filter(|frame| frame.is_message()).map(Frame::seq);
            assert_eq!(seqs.collect::<Vec<_>>(), expected, "{filter}");
        }
    }
}
