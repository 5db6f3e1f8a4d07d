//! A subscriber that is cut off again and again, at any byte, and resumes with `Last-Event-ID`, gets each
//! message exactly once and in order, at whichever server, and however often that is killed.

use std::collections::{HashMap, HashSet};
use std::io::Result;
use std::time::Duration;

use crate::support::raw_stream::RawStream;
use crate::support::records::{Record, assert_same, history};
use crate::support::streams::{message, publish, publish_one};
use crate::support::wire::committed;
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, for_each_mode, within};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use uuid::Uuid;

const MESSAGES: usize = 20_000;
const RESUMES: usize = 200;
/// The most frames after which a connection is cut (or that many times the bytes of a frame): so few that 200
/// connections do not read everything.
const LIFE: usize = 170;
const FRAME_BYTES: usize = 280;
const LONG: Duration = Duration::from_secs(240);
/// Time limit for a killed server to come back and accept a batch again.
const RECOVERY: Duration = Duration::from_secs(60);

/// How many connections there are: more than the 1,024 that tokio lets the kernel keep until they are
/// accepted.
const RECONNECTS: usize = 2_000;

const KILLS: usize = 5;
const KILLED_MESSAGES: usize = 3_000;

/// Where a connection is cut: after whole frames, or after a number of bytes, which may be within a frame.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Frames(usize),
    Bytes(usize),
    Never,
}

impl Cut {
    fn random() -> Self {
        match fastrand::bool() {
            true => Self::Frames(fastrand::usize(0..=LIFE)),
            false => Self::Bytes(fastrand::usize(0..=LIFE * FRAME_BYTES)),
        }
    }
}

/// A subscriber like a browser: it asks for everything, and reconnects with the last id it has seen.
struct Subscriber {
    seen: Vec<Record>,
    last_event_id: Option<u64>,
    progress: watch::Sender<usize>,
}

impl Subscriber {
    fn new() -> Self {
        Self { seen: Vec::new(), last_event_id: None, progress: watch::Sender::new(0) }
    }

    /// Reads one connection until it is cut or `wanted` messages have been seen in all.
    async fn connection(&mut self, base: &str, mut cut: Cut, wanted: usize) -> Result<()> {
        let mut wire = RawStream::open(base, "from=start", self.last_event_id).await?;
        while self.seen.len() < wanted {
            match &mut cut {
                Cut::Frames(0) | Cut::Bytes(0) => return Ok(()),
                Cut::Frames(left) => {
                    *left -= 1;
                    let frame = wire.frame().await?;
                    self.take(&frame);
                }
                Cut::Bytes(left) => {
                    *left -= wire.some(*left).await?;
                    while let Some(frame) = wire.waiting() {
                        self.take(&frame);
                    }
                }
                Cut::Never => {
                    let frame = wire.frame().await?;
                    self.take(&frame);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &crate::support::Frame) {
        assert!(!frame.is("gap"), "{frame:?} after {} messages", self.seen.len());
        if frame.id.is_some() {
            self.last_event_id = Some(frame.seq());
        }
        if frame.is_message() {
            let line = Record::of(frame);
            let before = self.seen.last().map_or(0, |line| line.seq);
            assert!(line.seq > before, "{} comes after {before}", line.seq);
            self.seen.push(line);
            self.progress.send_replace(self.seen.len());
        }
    }
}

/// Publishes all messages, in batches and one by one, sometimes far ahead of the subscriber and sometimes
/// close to it.
async fn write(http: &Http, mut progress: watch::Receiver<usize>) {
    let mut written = 0;
    while written < MESSAGES {
        let count = if fastrand::bool() { 1 } else { fastrand::usize(2..=400) };
        let count = count.min(MESSAGES - written);
        let numbered: Vec<Value> = (written..written + count).map(message).collect();
        match numbered.as_slice() {
            [one] => drop(publish_one(http, one).await),
            batch => drop(publish(http, batch).await),
        }
        written += count;
        let lead = [0, 100, 2_000][fastrand::usize(0..3)];
        progress.wait_for(|seen| seen + lead >= written).await.expect("the subscriber reads");
    }
}

/// Reconnects to the servers in turn while all messages are posted to the first.
async fn resumed(http: &Http, servers: &[&str]) {
    let mut subscriber = Subscriber::new();
    let progress = subscriber.progress.subscribe();
    let read = async {
        for resume in 0..RESUMES {
            let server = servers[resume % servers.len()];
            subscriber.connection(server, Cut::random(), MESSAGES - 1).await.expect("a stream");
        }
        subscriber.connection(servers[0], Cut::Never, MESSAGES).await.expect("a stream");
    };
    within(LONG, "everything is written and read", async {
        tokio::join!(read, write(http, progress));
    })
    .await;
    let last = subscriber.seen.last().expect("a message").seq;
    committed(http, last).await;
    assert_same("the stream against history", &subscriber.seen, &history(http, "").await);
}

for_each_mode! {
    async fn a_subscriber_cut_200_times_sees_each_of_20000_messages_exactly_once_in_order(
        deployment: &Deployment
    ) {
        resumed(deployment.http(), &[deployment.bus()]).await;
    }
}

#[tokio::test]
async fn a_subscriber_resumes_at_another_server_as_at_the_same() {
    let deployment = Deployment::start(Mode::Nats).await;
    let second = deployment.second_server().await;
    resumed(deployment.http(), &[deployment.bus(), second.url()]).await;
}

/// Publishes under given ids, and repeats what got no response; returns the sequence of each id.
async fn insist(
    http: &Http,
    total: usize,
    mut progress: watch::Receiver<usize>,
) -> HashMap<String, u64> {
    let mut acknowledged = HashMap::new();
    while acknowledged.len() < total {
        let count = fastrand::usize(1..=60).min(total - acknowledged.len());
        let lines: Vec<String> = (0..count)
            .map(|n| {
                let id = Uuid::now_v7().to_string();
                let sent = acknowledged.len() + n;
                json!({"id": id, "kind": "task", "type": "step", "task_id": "t", "sender_id": "writer",
                    "content": format!("step {sent}")})
                .to_string()
            })
            .collect();
        let answered = eventually(RECOVERY, "a batch is accepted", async || {
            accepted(http, lines.join("\n")).await
        });
        acknowledged.extend(answered.await);
        let lead = fastrand::usize(0..200);
        let sent = acknowledged.len();
        progress.wait_for(|seen| seen + lead >= sent).await.expect("the subscriber reads");
    }
    acknowledged
}

/// The ids and sequences of a batch, if every message of it has been acknowledged.
async fn accepted(http: &Http, batch: String) -> Option<Vec<(String, u64)>> {
    let headers = [("content-type", "application/x-ndjson")];
    let answer = http.request(Method::POST, "/v1/messages/batch", &headers, batch).await.ok()?;
    if answer.status != 200 {
        assert_eq!(answer.status, 503, "{}", answer.text());
        return None;
    }
    let answer = answer.json();
    let results = answer["results"].as_array().expect("results").iter().map(|result| {
        let status = result["status"].as_u64().expect("a status");
        assert!([200, 201, 503].contains(&status), "{result}");
        let id = result["id"].as_str().map(str::to_owned);
        (status != 503).then(|| (id.expect("an id"), result["seq"].as_u64().expect("a sequence")))
    });
    results.collect()
}

/// Kills and restarts the server each time a further part of the messages has been seen.
async fn kill(agentbus: &Agentbus, mut progress: watch::Receiver<usize>) {
    for kill in 1..=KILLS {
        let seen = KILLED_MESSAGES * kill / (KILLS + 1);
        progress.wait_for(|count| *count >= seen).await.expect("the subscriber reads");
        agentbus.kill9();
        agentbus.restart_listening().await;
    }
}

async fn killed_and_restarted(mode: Mode) {
    let deployment = Deployment::start(mode).await;
    let http = deployment.http();
    let mut subscriber = Subscriber::new();
    let progress = || subscriber.progress.subscribe();
    let (writer, killer) = (progress(), progress());
    let read = async {
        // A refused or broken connection is expected: the subscriber reconnects.
        eventually(LONG, "every message is seen", async || {
            let cut = if fastrand::bool() { Cut::random() } else { Cut::Never };
            let _ = subscriber.connection(deployment.bus(), cut, KILLED_MESSAGES).await;
            (subscriber.seen.len() == KILLED_MESSAGES).then_some(())
        })
        .await;
    };
    let (acknowledged, ..) = within(LONG, "everything is written and read", async {
        tokio::join!(
            insist(http, KILLED_MESSAGES, writer),
            read,
            kill(deployment.agentbus(), killer)
        )
    })
    .await;

    let seen: Vec<(String, u64)> = subscriber
        .seen
        .iter()
        .map(|line| (line.json()["id"].as_str().expect("an id").to_owned(), line.seq))
        .collect();
    let ids: HashSet<&String> = seen.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), seen.len(), "an id was seen twice");
    for (id, seq) in &seen {
        assert_eq!(acknowledged.get(id), Some(seq), "{id} is not where it was acknowledged");
    }
    let last = subscriber.seen.last().expect("a message").seq;
    committed(http, last).await;
    assert_same("the stream against history", &subscriber.seen, &history(http, "").await);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_seen_twice_when_the_server_is_killed_on_memory_sqlite() {
    killed_and_restarted(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_seen_twice_when_the_server_is_killed_on_nats() {
    killed_and_restarted(Mode::Nats).await;
}

/// Established connections to this port, on the server's side.
fn established(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let local = format!(":{port:04X}");
    let counts = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, at, _, "01", ..] if at.ends_with(&local))
    };
    table.lines().filter(|line| counts(line)).count()
}

#[tokio::test]
async fn two_thousand_reconnects_at_once_are_all_served() {
    let d = Deployment::start(Mode::MemorySqlite).await;
    let address = d.bus().trim_start_matches("http://").to_owned();
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    d.agentbus().pause();
    let all = (0..RECONNECTS).map(|_| TcpStream::connect(&address));
    let all = within(RECOVERY, "all connect", join_all(all)).await;
    let connections: Vec<TcpStream> = all.into_iter().map(|one| one.expect("connected")).collect();
    eventually(RECOVERY, "the kernel queues them all", async || {
        (established(port) >= RECONNECTS).then_some(())
    })
    .await;
    d.agentbus().resume();
    let answered = connections.into_iter().map(async |mut one| {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
        one.write_all(request.as_bytes()).await.expect("sent");
        let mut status = [0; 12];
        one.read_exact(&mut status).await.expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 200");
    });
    within(RECOVERY, "all are answered", join_all(answered)).await;
}
