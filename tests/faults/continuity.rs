//! The stream is deleted, created again, rolled back, or filled with other content. No committed sequence may
//! get other content, and the store restores what the stream lost under the same sequences.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::records::{Record, assert_same, history};
use crate::support::streams::{LIMIT, message, publish};
use crate::support::wire::committed;
use crate::support::{Agentbus, Http, Nats, Postgres, eventually};

const NAME: &str = "agent-messages";

/// One server on NATS, whose NATS files the test can copy.
struct Log {
    agentbus: Agentbus,
    nats: Nats,
    store_dir: Folder,
    pg_url: String,
}

impl Log {
    async fn start() -> Self {
        let store_dir = Folder::new("jetstream");
        let nats = Nats::builder().store_dir(store_dir.path()).start().await;
        let pg_url = Postgres::shared().await.database().await;
        let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
        Self { agentbus, nats, store_dir, pg_url }
    }

    fn http(&self) -> Http {
        self.agentbus.http()
    }

    /// Publishes `count` messages from number `from` on, and waits until the store has them.
    async fn grow(&self, from: usize, count: usize) -> u64 {
        let batch: Vec<Value> = (from..from + count).map(message).collect();
        let seqs = publish(&self.http(), &batch).await;
        let last = *seqs.last().expect("some");
        committed(&self.http(), last).await;
        last
    }

    /// Publishes one message as soon as publishing works again; returns its sequence.
    async fn publishes_again(&self) -> u64 {
        let message = message(1_000_000);
        eventually(LIMIT, "publishing is possible again", async || {
            let answer = self.http().post_json("/v1/messages", &message).await;
            matches!(answer.status, 200 | 201).then(|| answer.json()["seq"].as_u64())?
        })
        .await
    }

    async fn stream(&self) -> Stream {
        self.nats.jetstream().await.get_stream(NAME).await.expect("the stream")
    }

    /// Stops the server, and fills a new stream with three messages that are not in the log.
    async fn gets_other_content(&self) {
        self.agentbus.terminate().await;
        let jetstream = self.nats.jetstream().await;
        let config = self.stream().await.cached_info().config.clone();
        make_anew(&jetstream, config).await;
        for number in 0..3 {
            let payload = json!({"n": number}).to_string();
            let ack =
                jetstream.publish("agent.task.other.note", payload.into()).await.expect("sent");
            ack.await.expect("acked");
        }
    }

    /// Runs an agentbus command with the settings of this server.
    fn run(&self, args: &[&str], dir: &Path) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
        command.args(args).env_clear().current_dir(dir);
        command.env("MESSAGE_BUS", "nats").env("NATS_URL", self.nats.url());
        command.env("DATABASE_URL", &self.pg_url).output().expect("it runs")
    }
}

/// The payload at a sequence of the stream.
async fn payload_at(stream: &Stream, seq: u64) -> Option<String> {
    match stream.get_raw_message(seq).await {
        Ok(message) => Some(String::from_utf8(message.payload.to_vec()).expect("UTF-8")),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
        Err(error) => panic!("sequence {seq}: {error}"),
    }
}

/// Compares each message of history with the stream at its sequence.
async fn assert_held(stream: &Stream, lines: &[Record]) {
    for line in lines {
        let payload = payload_at(stream, line.seq)
            .await
            .unwrap_or_else(|| panic!("{} is not there", line.seq));
        let wanted = payload.replacen('{', &format!("{{\"seq\":{},", line.seq), 1);
        assert_eq!(String::from_utf8_lossy(&line.bytes), wanted);
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success());
}

async fn delete(jetstream: &Context) {
    jetstream.delete_stream(NAME).await.expect("deleted");
}

/// Creates the stream, and retries: nats-server removes the folder of streams with the last stream, possibly
/// when the new one needs it.
async fn make_anew(jetstream: &Context, config: Config) {
    delete(jetstream).await;
    eventually(LIMIT, "the stream is created again", async || {
        jetstream.create_stream(config.clone()).await.ok().map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_stream_deleted_under_a_running_server_comes_back_as_it_was() {
    let log = Log::start().await;
    log.grow(0, 700).await;
    let before = history(&log.http(), "").await;
    delete(&log.nats.jetstream().await).await;
    assert_eq!(log.publishes_again().await, 701);
    let stream = log.stream().await;
    assert_held(&stream, &before).await;
    committed(&log.http(), 701).await;
    assert_same("history", &history(&log.http(), "before=701").await, &before);
}

#[tokio::test]
async fn a_stream_rolled_back_gets_its_tail_back_and_nothing_else_at_its_sequences() {
    let log = Log::start().await;
    log.grow(0, 300).await;
    log.nats.stop_gracefully().await;
    let old = Folder::new("rolled-back");
    copy(&log.store_dir.join("jetstream"), &old.join("jetstream"));
    log.nats.restart().await;
    assert_eq!(log.publishes_again().await, 301);
    let last = log.grow(301, 500).await;
    let before = history(&log.http(), "").await;
    log.nats.kill9();
    std::fs::remove_dir_all(log.store_dir.join("jetstream")).expect("removed");
    copy(&old.join("jetstream"), log.store_dir.path());
    log.nats.restart().await;
    let message = message(2_000_000);
    let next = eventually(LIMIT, "publishing is possible again", async || {
        let answer = log.http().post_json("/v1/messages", &message).await;
        matches!(answer.status, 200 | 201).then(|| answer.json()["seq"].as_u64())?
    })
    .await;
    assert_eq!(next, last + 1);
    assert_held(&log.stream().await, &before).await;
    committed(&log.http(), next).await;
    assert_same("history", &history(&log.http(), &format!("before={next}")).await, &before);
}

/// A backup as the NATS tools make it: the stream's configuration and state, and its files in pieces.
struct Backup {
    stream: Value,
    pieces: Vec<Bytes>,
}

async fn asked(client: &Client, subject: &str, body: Bytes) -> Value {
    let answer = client.request(subject.to_owned(), body).await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert!(answer.get("error").is_none(), "{subject}: {answer}");
    answer
}

async fn backup(client: &Client) -> Backup {
    let inbox = client.new_inbox();
    let mut pieces_in = client.subscribe(inbox.clone()).await.expect("subscribed");
    let wish = json!({"deliver_subject": inbox, "no_consumers": true, "chunk_size": 65_536});
    let subject = format!("$JS.API.STREAM.SNAPSHOT.{NAME}");
    let stream = asked(client, &subject, wish.to_string().into()).await;
    let mut pieces = Vec::new();
    while let Some(piece) = pieces_in.next().await.filter(|piece| !piece.payload.is_empty()) {
        pieces.push(piece.payload);
        if let Some(reply) = piece.reply {
            client.publish(reply, Bytes::new()).await.expect("sent");
        }
    }
    Backup { stream, pieces }
}

async fn restore(client: &Client, backup: &Backup) {
    let wish = json!({"config": backup.stream["config"], "state": backup.stream["state"]});
    let subject = format!("$JS.API.STREAM.RESTORE.{NAME}");
    let begun = asked(client, &subject, wish.to_string().into()).await;
    let deliver = begun["deliver_subject"].as_str().expect("where to").to_owned();
    for piece in &backup.pieces {
        client.request(deliver.clone(), piece.clone()).await.expect("taken");
    }
    asked(client, &deliver, Bytes::new()).await;
}

#[tokio::test]
async fn a_stream_restored_from_an_old_backup_gets_its_tail_back() {
    let log = Log::start().await;
    log.grow(0, 400).await;
    let client = log.nats.client().await;
    let old = backup(&client).await;
    let last = log.grow(400, 300).await;
    let before = history(&log.http(), "").await;
    // The stream is deleted while the server runs, since a backup can be restored only where there is no
    // stream. The server waits before it creates one.
    delete(&log.nats.jetstream().await).await;
    restore(&client, &old).await;
    let start = std::time::Instant::now();
    assert_eq!(log.publishes_again().await, last + 1);
    eprintln!("restored from an old backup: {:.1?} to the next acknowledgement", start.elapsed());
    assert_held(&log.stream().await, &before).await;
    committed(&log.http(), last + 1).await;
    assert_same("history", &history(&log.http(), &format!("before={}", last + 1)).await, &before);
}

#[tokio::test]
async fn a_stream_created_by_another_client_is_filled_before_anything_is_published() {
    let log = Log::start().await;
    log.grow(0, 200).await;
    let before = history(&log.http(), "").await;
    log.agentbus.terminate().await;
    let jetstream = log.nats.jetstream().await;
    let mut config = log.stream().await.cached_info().config.clone();
    config.max_messages = 150;
    make_anew(&jetstream, config).await;
    log.agentbus.restart().await;
    assert_eq!(log.publishes_again().await, 201);
    let stream = log.stream().await;
    // The stream has as many messages as its limit allows, the new one included.
    assert_held(&stream, &before[51..]).await;
    assert_eq!(payload_at(&stream, 50).await, None);
}

#[tokio::test]
async fn other_content_at_a_committed_sequence_stops_publishing_until_rebuild() {
    let log = Log::start().await;
    log.grow(0, 50).await;
    let before = history(&log.http(), "").await;
    log.gets_other_content().await;
    log.agentbus.restart_listening().await;
    let output = eventually(LIMIT, "readiness reports the other content", async || {
        let answer = log.http().get("/readyz?verbose").await;
        (answer.status == 503 && answer.text().contains("other content")).then(|| answer.text())
    })
    .await;
    assert!(output.contains("sequence 1:") && output.contains("agentbus rebuild"), "{output}");
    log.http().post_json("/v1/messages", &message(0)).await.expect(503);
    let folder = Folder::new("rebuild");
    let beside = log.run(&["rebuild", "--yes"], folder.path());
    assert!(!beside.status.success(), "not beside a running server");
    log.agentbus.terminate().await;
    let doctor = log.run(&["doctor"], folder.path());
    let output = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!doctor.status.success() && output.contains("agentbus rebuild"), "{output}");
    let unsure = log.run(&["rebuild"], folder.path());
    assert!(String::from_utf8_lossy(&unsure.stderr).contains("--yes"));
    let rebuilt = log.run(&["rebuild", "--yes"], folder.path());
    let output = String::from_utf8_lossy(&rebuilt.stderr).into_owned();
    assert!(rebuilt.status.success(), "{output}");
    log.agentbus.restart().await;
    let all = history(&log.http(), "").await;
    assert_same("history", &all[..50], &before);
    let kept: Vec<Value> = all[50..].iter().map(Record::json).collect();
    assert_eq!(kept.len(), 3, "what only the stream had: {kept:?}");
    assert!(
        kept.iter().all(|message| message["content"].as_str().is_some_and(|c| c.contains("\"n\"")))
    );
    assert_eq!(log.publishes_again().await, 54);
    assert_held(&log.stream().await, &before).await;
}

/// A take-over that is repeated, since the first one was interrupted, names the same end of the first site's log.
#[tokio::test]
async fn a_repeated_take_over_names_the_same_sequence() {
    let log = Log::start().await;
    log.grow(0, 50).await;
    log.agentbus.terminate().await;
    let folder = Folder::new("takeover");
    for _ in 0..2 {
        let taken = log.run(&["rebuild", "--take-over", "--yes"], folder.path());
        let output = String::from_utf8_lossy(&taken.stdout).into_owned();
        assert!(taken.status.success() && output.contains("up to sequence 50;"), "{output}");
    }
    log.agentbus.restart().await;
    assert!(log.publishes_again().await > 2 << 32);
}

/// Requests that read the log wait until it is checked; the consumer exists from the start.
#[tokio::test]
async fn a_server_has_its_consumer_from_the_first_response_on() {
    let log = Log::start().await;
    log.grow(0, 50).await;
    log.gets_other_content().await;
    let builder = log.agentbus.like().env("NATS_CONSUMER_NAME", "another");
    let refusing = builder.start_listening().await;
    let listed = eventually(LIMIT, "the server has started", async || {
        let answer = refusing.http().get("/v1/consumers").await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    let names: Vec<&str> = listed["consumers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(names, ["agent-processor", "another"], "{listed}");
    assert_eq!(refusing.http().get("/readyz").await.status, 503, "the log is not its log");
    let paused = refusing.http().post("/v1/consumers/another/pause", "application/json", "").await;
    assert_eq!(paused.expect(200).json()["state"], "paused");
}

#[tokio::test]
async fn holes_stay_holes_and_foreign_messages_are_restored_unchanged() {
    let log = Log::start().await;
    let jetstream = log.nats.jetstream().await;
    log.grow(0, 10).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "not a uuid");
    headers.insert("Agent-Sender", "outside");
    let sent = jetstream.publish_with_headers("agent.task.x.note", headers, "raw \u{1}".into());
    assert_eq!(sent.await.expect("sent").await.expect("acked").sequence, 11);
    committed(&log.http(), 11).await;
    // These messages are deleted before a server has stored them, so the projector finds a hole.
    log.agentbus.terminate().await;
    for number in 0..5 {
        let payload = message(100 + number).to_string();
        let ack = jetstream.publish("agent.message.agent.note", payload.into()).await;
        ack.expect("sent").await.expect("acked");
    }
    let stream = log.stream().await;
    for seq in [13, 14] {
        assert!(stream.delete_message(seq).await.expect("deleted"));
    }
    log.agentbus.restart().await;
    committed(&log.http(), 16).await;
    let before = history(&log.http(), "").await;
    assert_eq!(before.len(), 14);
    delete(&jetstream).await;
    assert_eq!(log.publishes_again().await, 17);
    let stream = log.stream().await;
    for seq in [13, 14] {
        assert_eq!(payload_at(&stream, seq).await, None, "{seq}");
    }
    let back = stream.get_raw_message(11).await.expect("there");
    assert_eq!(
        (&*back.payload, back.subject.as_str()),
        ("raw \u{1}".as_bytes(), "agent.task.x.note")
    );
    // Another server detects this, one that reads the stream only for its live streams.
    let empty = Postgres::shared().await.database().await;
    let fresh = Agentbus::builder().nats(&log.nats.url(), &empty).start().await;
    committed(&fresh.http(), 17).await;
    assert_same("projected again", &history(&fresh.http(), "before=17").await, &before);
}

/// Long enough for two servers to notice a deleted stream at the same time.
const SETTLED: Duration = Duration::from_secs(20);

#[tokio::test]
async fn several_servers_restore_the_stream_once() {
    let log = Log::start().await;
    let others = [log.agentbus.like().start().await, log.agentbus.like().start().await];
    log.grow(0, 2_000).await;
    let before = history(&log.http(), "").await;
    delete(&log.nats.jetstream().await).await;
    let mut posted = Vec::new();
    for (number, server) in std::iter::once(&log.agentbus).chain(&others).enumerate() {
        let message = message(5_000 + number);
        let seq = eventually(SETTLED, "each server publishes again", async || {
            let answer = server.http().post_json("/v1/messages", &message).await;
            matches!(answer.status, 200 | 201).then(|| answer.json()["seq"].as_u64())?
        })
        .await;
        posted.push(seq);
    }
    assert_eq!(posted, [2_001, 2_002, 2_003]);
    assert_held(&log.stream().await, &before[1_500..]).await;
    assert_eq!(log.stream().await.cached_info().state.messages, 2_003);
}
