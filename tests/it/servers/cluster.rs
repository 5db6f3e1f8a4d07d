//! Several servers on one NATS and one PostgreSQL act as one agentbus; also the settings of the stream that
//! they share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::records::{self, Record};
use crate::support::wire;
use crate::support::{Agentbus, Deployment, Http, Mode, Nats, Postgres, eventually, within};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);
/// Time limit for another server to project after the active one has ended.
const TAKE_OVER: Duration = Duration::from_secs(5);
const STREAM: &str = "agent-messages";

/// Three servers of one log.
struct Cluster {
    // Must be dropped before the servers that they need.
    others: [Agentbus; 2],
    deployment: Deployment,
}

impl Cluster {
    async fn start() -> Self {
        let deployment = Deployment::start(Mode::Nats).await;
        let others = [deployment.second_server().await, deployment.second_server().await];
        Self { others, deployment }
    }

    fn servers(&self) -> [&Agentbus; 3] {
        [self.deployment.agentbus(), &self.others[0], &self.others[1]]
    }

    /// The server that projects, and the others.
    async fn active(&self) -> (&Agentbus, Vec<&Agentbus>) {
        eventually(LIMIT, "one server projects", async || {
            let (mut active, mut standby) = (Vec::new(), Vec::new());
            for server in self.servers() {
                if projects(server).await { &mut active } else { &mut standby }.push(server);
            }
            (active.len() == 1).then(|| (active[0], standby))
        })
        .await
    }
}

async fn projects(server: &Agentbus) -> bool {
    let metrics = server.http().get("/metrics").await.expect(200).text();
    metrics.lines().any(|line| line == "agentbus_projector_active 1")
}

fn message(content: &str) -> Value {
    json!({"id": Uuid::new_v4(), "kind": "message", "type": "note", "sender_id": "bob", "content": content})
}

/// Posts through one server until stopped; returns the acknowledged sequence of each id.
fn keep_posting(http: Http, stop: &Arc<AtomicBool>) -> JoinHandle<HashMap<String, u64>> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut acked = HashMap::new();
        while !stop.load(Ordering::Relaxed) {
            let answer = http.post_json("/v1/messages", &message("again")).await.expect(201).json();
            let id = answer["id"].as_str().expect("an id").to_owned();
            acked.insert(id, answer["seq"].as_u64().expect("a sequence"));
        }
        acked
    })
}

/// Fails the test unless every server has the same log in history and in replays, without holes, with every
/// acknowledged message at its sequence, and with correct counts.
async fn assert_one_log(servers: &[&Agentbus], acked: &HashMap<String, u64>) -> Vec<Record> {
    let last = acked.values().copied().max().expect("something was acknowledged");
    wire::committed_at_last(&servers[0].http(), last).await;
    let log = records::history(&servers[0].http(), "").await;
    let count = u64::try_from(log.len()).expect("a count");
    assert_eq!(records::seqs(&log), (1..=count).collect::<Vec<_>>(), "duplicate or lost");
    let mut at: HashMap<String, u64> = HashMap::new();
    for line in &log {
        let id = line.json()["id"].as_str().expect("an id").to_owned();
        assert!(at.insert(id, line.seq).is_none(), "twice: {}", line.text());
    }
    for (id, seq) in acked {
        assert_eq!(at.get(id), Some(seq), "{id} was acknowledged at {seq}");
    }
    for server in servers {
        let mut replay = server.http().stream("from=1", None).await;
        records::assert_same("replay", &records::take(&mut replay, log.len(), LIMIT).await, &log);
        let stats = server.http().get("/v1/stats").await.expect(200).json();
        let by_kind: BTreeMap<String, u64> =
            serde_json::from_value(stats["counts"]["by_kind"].clone()).expect("counts by kind");
        assert_eq!(by_kind.values().sum::<u64>(), count, "{stats}");
    }
    log
}

#[tokio::test]
async fn what_one_server_acknowledges_every_server_streams_and_finds() {
    let cluster = Cluster::start().await;
    let mut streams = Vec::new();
    for server in cluster.servers() {
        let mut stream = server.http().stream("", None).await;
        stream.expect_ready().await;
        streams.push(stream);
    }
    let mut acked = HashMap::new();
    for round in 0..20 {
        for server in cluster.servers() {
            let sent = message(&format!("round {round}"));
            let answer = server.http().post_json("/v1/messages?ack=committed", &sent).await;
            let answer = answer.expect(201).json();
            assert_eq!(answer["durability"], "committed");
            let id = answer["id"].as_str().expect("an id").to_owned();
            for other in cluster.servers() {
                let found =
                    other.http().get(&format!("/v1/messages/{id}")).await.expect(200).json();
                assert_eq!(found["seq"], answer["seq"]);
            }
            acked.insert(id, answer["seq"].as_u64().expect("a sequence"));
        }
    }
    let log = assert_one_log(&cluster.servers(), &acked).await;
    assert_eq!(log.len(), acked.len());
    for stream in &mut streams {
        records::assert_same("live", &records::take(stream, log.len(), LIMIT).await, &log);
    }
}

#[tokio::test]
async fn an_id_is_in_the_log_once_through_any_servers() {
    let cluster = Cluster::start().await;
    let [a, b, c] = cluster.servers().map(Agentbus::http);
    for _ in 0..20 {
        let sent = message("same");
        let post = async |http: &Http| http.post_json("/v1/messages", &sent).await;
        let answers = <[_; 4]>::from(tokio::join!(post(&a), post(&b), post(&c), post(&a)));
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 201], "{answers:?}");
        for answer in &answers {
            let json = answer.json();
            assert_eq!(json["seq"], answers[0].json()["seq"]);
            assert_eq!(json["created_at"], answers[0].json()["created_at"]);
            assert_eq!(json["duplicate"], answer.status == 200);
        }
        let mut other = sent.clone();
        other["content"] = json!("other");
        for http in [&a, &b, &c] {
            let answer = http.post_json("/v1/messages", &other).await.expect(409).json();
            assert_eq!(answer["code"], "idempotency_conflict");
        }
    }
    wire::committed_at_last(&a, 20).await;
    assert_eq!(records::history(&b, "").await.len(), 20);
}

#[tokio::test]
async fn another_server_projects_soon_after_the_active_one_is_killed() {
    let cluster = Cluster::start().await;
    let http = cluster.servers()[0].http();
    let first = http.post_json("/v1/messages?ack=committed", &message("before")).await;
    let mut acked = HashMap::new();
    acked.insert(first.json()["id"].as_str().expect("an id").to_owned(), first.seq());
    let (active, others) = cluster.active().await;
    let stop = Arc::new(AtomicBool::new(false));
    let posting: Vec<_> = others.iter().map(|it| keep_posting(it.http(), &stop)).collect();
    active.kill9();
    let killed = Instant::now();
    let seq = others[0].http().post_json("/v1/messages", &message("after")).await.seq();
    eventually(LIMIT, "another server commits", async || {
        (wire::committed_through(&others[1].http()).await? >= seq).then_some(())
    })
    .await;
    assert!(killed.elapsed() < TAKE_OVER, "took over after {:?}", killed.elapsed());
    stop.store(true, Ordering::Relaxed);
    for task in posting {
        acked.extend(within(LIMIT, "the last post", task).await.expect("posting"));
    }
    assert_one_log(&others, &acked).await;
    active.restart().await;
    assert_one_log(&cluster.servers(), &acked).await;
}

#[tokio::test]
async fn a_frozen_projector_that_wakes_up_neither_duplicates_nor_loses() {
    let cluster = Cluster::start().await;
    let (active, others) = cluster.active().await;
    let mut streams = Vec::new();
    for server in cluster.servers() {
        let mut stream = server.http().stream("", None).await;
        stream.expect_ready().await;
        streams.push(stream);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let posting: Vec<_> = others.iter().map(|it| keep_posting(it.http(), &stop)).collect();
    let mut acked = HashMap::new();
    wire::committed_at_last(&others[0].http(), 50).await;
    active.pause();
    eventually(LIMIT, "another server projects", async || {
        let mut taken_over = false;
        for server in &others {
            taken_over |= projects(server).await;
        }
        taken_over.then_some(())
    })
    .await;
    let through = wire::committed_through(&others[0].http()).await.expect("a watermark");
    wire::committed_at_last(&others[0].http(), through + 50).await;
    active.resume();
    eventually(LIMIT, "the thawed server becomes the standby", async || {
        (!projects(active).await).then_some(())
    })
    .await;
    for _ in 0..20 {
        let answer =
            active.http().post_json("/v1/messages?ack=committed", &message("thawed")).await;
        let answer = answer.expect(201).json();
        let id = answer["id"].as_str().expect("an id").to_owned();
        acked.insert(id, answer["seq"].as_u64().expect("a sequence"));
    }
    stop.store(true, Ordering::Relaxed);
    for task in posting {
        acked.extend(within(LIMIT, "the last post", task).await.expect("posting"));
    }
    let log = assert_one_log(&cluster.servers(), &acked).await;
    assert_eq!(log.len(), acked.len());
    for stream in &mut streams {
        records::assert_same("live", &records::take(stream, log.len(), LIMIT).await, &log);
    }
}

async fn config(nats: &Nats, name: &str) -> Config {
    let stream = nats.jetstream().await.get_stream(name).await.expect("the stream");
    stream.cached_info().config.clone()
}

fn epoch(config: &Config) -> Uuid {
    let uuids = config.metadata.values().filter_map(|value| value.parse().ok());
    uuids.collect::<Vec<Uuid>>().pop().expect("an epoch in the stream's metadata")
}

#[tokio::test]
async fn the_stream_is_created_with_its_defaults() {
    let deployment = Deployment::start(Mode::Nats).await;
    let nats = deployment.nats().expect("a NATS server");
    let made = config(nats, STREAM).await;
    let mut subjects = made.subjects.clone();
    subjects.sort_unstable();
    assert_eq!(subjects, ["agent.message.>", "agent.status.>", "agent.task.>"]);
    assert_eq!(made.retention, RetentionPolicy::Limits);
    assert_eq!(made.storage, StorageType::File);
    assert_eq!(made.discard, DiscardPolicy::Old);
    assert_eq!(made.max_age, Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!((made.max_messages, made.max_message_size), (1_000_000, 1 << 20));
    assert_eq!((made.max_bytes, made.max_messages_per_subject), (-1, -1));
    assert_eq!((made.duplicate_window, made.num_replicas), (Duration::from_secs(120), 1));
    assert!(made.allow_direct && made.allow_atomic_publish);
    let first = epoch(&made);
    deployment.agentbus().restart().await;
    assert_eq!(epoch(&config(nats, STREAM).await), first);
    assert!(!deployment.agentbus().log().contains("WARN agentbus::bus"), "nothing to warn of");
}

#[tokio::test]
async fn the_stream_is_created_as_configured() {
    let tuned = Deployment::tuned(Mode::Nats, |builder| {
        let named = builder.env("NATS_STREAM_NAME", "other").env("NATS_MAX_MSGS", "5000");
        named.env("NATS_MAX_AGE_DAYS", "2").env("NATS_DUPLICATE_WINDOW_S", "30")
    });
    let deployment = tuned.await;
    let made = config(deployment.nats().expect("a NATS server"), "other").await;
    assert_eq!((made.max_messages, made.duplicate_window), (5_000, Duration::from_secs(30)));
    assert_eq!(made.max_age, Duration::from_secs(2 * 24 * 60 * 60));
    let http = deployment.http();
    let seq = http.post_json("/v1/messages", &message("x")).await.expect(201).seq();
    wire::committed_at_last(http, seq).await;
}

#[tokio::test]
async fn an_existing_stream_is_left_unchanged_with_a_warning() {
    let nats = Nats::start().await;
    let wanted = Config {
        name: STREAM.to_owned(),
        subjects: vec!["agent.>".to_owned()],
        max_messages: 5_000,
        max_age: Duration::from_secs(60 * 60),
        duplicate_window: Duration::from_secs(10),
        storage: StorageType::Memory,
        ..Config::default()
    };
    nats.jetstream().await.create_stream(wanted).await.expect("create a stream");
    let before = config(&nats, STREAM).await;
    let pg_url = Postgres::shared().await.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    assert_eq!(config(&nats, STREAM).await, before);
    let log = agentbus.log();
    for lacking in ["max_msgs", "max_age", "duplicate_window", "storage", "allow_direct", "epoch"] {
        let warned = log.lines().any(|line| line.contains("WARN") && line.contains(lacking));
        assert!(warned, "no warning of {lacking}:\n{log}");
    }
    let http = agentbus.http();
    let seq = http.post_json("/v1/messages", &message("x")).await.expect(201).seq();
    wire::committed_at_last(&http, seq).await;
    assert_eq!(config(&nats, STREAM).await, before);
}
