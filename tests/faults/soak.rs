//! Many rounds in which agents, keys, queues, webhooks and streams come and go: what a server, its database and
//! its stream hold afterwards is what they held before. `scripts/soak` runs it for hours.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::support::keys::Secured;
use crate::support::receiver::Receiver;
use crate::support::{Deployment, Http, Mode, eventually, jobs};

const LIMIT: Duration = Duration::from_secs(30);
/// Rounds before the first sample: pools, caches and the ring have their size.
const WARM: usize = 40;
/// Rounds of the short form.
const SHORT: usize = 60;
/// Rounds after which another receiver takes the deliveries: it keeps them all.
const RECEIVER: usize = 1_000;
/// Agents of the squad. Each agent stays in the table of agents, so their number is bounded here.
const AGENTS: usize = 20;
/// Tables that hold what exists now, not what happened.
const FLAT: [&str; 13] = [
    "agents",
    "inboxes",
    "inbox_cursors",
    "consumers",
    "set_aside",
    "dead_letters",
    "webhooks",
    "queues",
    "jobs",
    "job_attempts",
    "keys",
    "key_secrets",
    "schemas",
];
/// How much the memory of a server may grow between samples, in KiB: allocators keep what they had at most.
const MEMORY_SLACK: u64 = 16_384;
/// Files and NATS consumers that may come or go while a sample is taken: connections in a pool, a projector's
/// consumer that is made anew.
const SLACK: usize = 8;

/// What is held at a moment when nothing is going on.
#[derive(Debug)]
struct Sample {
    memory_kib: u64,
    files: usize,
    nats_consumers: usize,
    rows: BTreeMap<&'static str, i64>,
    /// Time of the fastest of some posts, in ms: other work of the machine delays most of them.
    post_ms: f64,
}

impl Sample {
    async fn take(deployment: &Deployment, http: &Http) -> Self {
        eventually(LIMIT, "the streams of the round have ended", async || {
            let text = http.get("/metrics").await.expect(200).text();
            text.contains("agentbus_streams_open 0").then_some(())
        })
        .await;
        let pid = deployment.agentbus().pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.split_whitespace().next()).expect("VmRSS");
        Self {
            memory_kib: kib.parse().expect("a number"),
            files: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("files").count(),
            nats_consumers: nats_consumers(deployment).await,
            rows: rows(deployment.pg_url().expect("PostgreSQL")).await,
            post_ms: fastest_post(http).await,
        }
    }

    /// Fails the test unless this sample, taken later, holds no more than `before`.
    fn is_flat_against(&self, before: &Self) {
        let told = format!("\nbefore: {before:?}\nafter:  {self:?}");
        let bound = before.memory_kib + before.memory_kib / 10 + MEMORY_SLACK;
        assert!(self.memory_kib <= bound, "memory grows{told}");
        assert!(self.files <= before.files + SLACK, "open files grow{told}");
        assert!(self.nats_consumers <= before.nats_consumers + SLACK, "NATS consumers grow{told}");
        assert_eq!(self.rows, before.rows, "tables grow{told}");
        assert!(self.post_ms <= 3.0 * before.post_ms + 2.0, "posts get slower{told}");
    }
}

async fn nats_consumers(deployment: &Deployment) -> usize {
    let context = deployment.nats().expect("NATS").jetstream().await;
    let mut count = 0;
    for name in ["agent-messages", "agent-jobs", "agent-leases"] {
        let stream = context.get_stream(name).await.expect("a stream");
        count += stream.cached_info().state.consumer_count;
    }
    count
}

async fn rows(pg_url: &str) -> BTreeMap<&'static str, i64> {
    let mut connection = PgConnection::connect(pg_url).await.expect("a session");
    let mut rows = BTreeMap::new();
    for table in FLAT {
        let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let row = sqlx::query(query).fetch_one(&mut connection).await.expect("a count");
        rows.insert(table, row.get(0));
    }
    rows
}

async fn fastest_post(http: &Http) -> f64 {
    let mut fastest = f64::INFINITY;
    for _ in 0..50 {
        let start = Instant::now();
        http.post_json("/v1/messages", &note("agent-0")).await.expect(201);
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
    }
    fastest
}

fn note(sender: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": sender, "recipient_id": "ann", "content": "x".repeat(500)})
}

/// One of everything comes, works and goes.
async fn round(secured: &Secured, receiver: &Receiver, number: usize) {
    let root = &secured.root;
    let agent = format!("agent-{}", number % AGENTS);
    let grants = json!({"as": [agent], "publish": ["agent.>"], "read": ["agent.>"]});
    let key = secured.key(grants).await;
    let mut stream = key.http.stream(&format!("sender={agent}&type=note"), None).await;
    stream.expect_ready().await;
    let hook = json!({"url": receiver.url(), "filter": "agent.message.>"});
    let hook = root.post_json("/v1/webhooks", &hook).await.expect(201).json();
    let seq = key.http.post_json("/v1/messages", &note(&agent)).await.expect(201).seq();
    let seen = stream.collect_messages(1, LIMIT).await;
    assert_eq!(seen[0].id.as_deref(), Some(seq.to_string().as_str()));
    eventually(LIMIT, "the webhook is delivered", async || {
        receiver.got().iter().any(|got| got.seq() == seq).then_some(())
    })
    .await;

    let queue = format!("queue-{number}");
    jobs::configure(root, &queue, 30, 3).await;
    for n in 0..3 {
        jobs::enqueue(root, &queue, &jobs::job(n)).await;
    }
    assert_eq!(jobs::work(root, &queue, 2, 3).await.len(), 3, "every job is done");
    root.delete(&format!("/v1/queues/{queue}")).await.expect(204);
    root.delete(&format!("/v1/webhooks/{}", hook["id"].as_str().expect("an id"))).await.expect(204);
    secured.revoke(&key.id).await;
    drop(stream);
}

/// How long the long form runs, from `AGENTBUS_SOAK_S`.
fn duration() -> Option<Duration> {
    let seconds = std::env::var("AGENTBUS_SOAK_S").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("AGENTBUS_SOAK_S is a number of seconds")))
}

#[tokio::test]
async fn what_comes_and_goes_leaves_nothing_behind() {
    let env = [("WEBHOOK_ALLOW_PRIVATE", "true"), ("RING_SIZE", "1000")];
    let secured = Secured::tuned(Mode::Nats, &env).await;
    let (start, until) = (Instant::now(), duration());
    let mut receiver = Receiver::start().await;
    let (mut before, mut number) = (None, 0);
    loop {
        round(&secured, &receiver, number).await;
        number += 1;
        if number % RECEIVER == 0 {
            receiver = Receiver::start().await;
        }
        if number % WARM == 0 {
            let sample = Sample::take(&secured.deployment, &secured.root).await;
            eprintln!("{:.0?}, round {number}: {sample:?}", start.elapsed());
            match &before {
                None => before = Some(sample),
                Some(before) => sample.is_flat_against(before),
            }
        }
        let ended = until.map_or(number >= WARM + SHORT, |until| start.elapsed() >= until);
        if ended && number > 2 * WARM {
            break;
        }
    }
}
