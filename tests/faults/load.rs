//! Clients that publish and watch during faults, and record every response and event.
//!
//! A writer repeats each message under its id, at one server after the other, until it is acknowledged. A
//! watcher reconnects with the last id it has seen, as a browser does. Both give up after [`PATIENCE`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::records::Record;
use crate::support::{Http, Stop, eventually};

/// The longest that any recovery may take.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long a client waits between attempts.
const RETRY: Duration = Duration::from_millis(20);
/// The longest that a response may take: the contract allows 6 s for a 503.
const ANSWER: Duration = Duration::from_secs(8);

/// The acknowledged sequence of each id.
type Acked = HashMap<String, u64>;

/// Everything that clients received.
pub struct Observed {
    /// The acknowledged sequences by id, over all writers.
    pub acked: Acked,
    /// The messages that each watcher has read, in the order of reading.
    pub seen: Vec<Vec<Record>>,
    /// The gaps that watchers were told of, as the first and the last sequence.
    pub gaps: Vec<(u64, u64)>,
}

/// What one watcher has received.
#[derive(Default)]
struct Watched {
    seen: Vec<Record>,
    gaps: Vec<(u64, u64)>,
}

/// Running clients.
pub struct Load {
    stop: CancellationToken,
    head: watch::Sender<Option<u64>>,
    acks: Arc<watch::Sender<u64>>,
    writers: JoinSet<Acked>,
    watchers: JoinSet<Watched>,
}

impl Load {
    /// Starts writers and watchers at these servers. Every second writer sends batches.
    pub fn start(servers: &[&str], writers: usize, watchers: usize) -> Self {
        Self::start_with(servers, writers, watchers, false)
    }

    /// Like [`Load::start`]; watchers may be told of gaps, which are recorded.
    pub fn start_with(servers: &[&str], writers: usize, watchers: usize, gaps: bool) -> Self {
        let servers: Arc<[Http]> = servers.iter().map(|base| Http::new(base)).collect();
        let mut load = Self {
            stop: CancellationToken::new(),
            head: watch::Sender::new(None),
            acks: Arc::new(watch::Sender::new(0)),
            writers: JoinSet::new(),
            watchers: JoinSet::new(),
        };
        for number in 0..writers {
            let batch = if number % 2 == 0 { 1 } else { 20 };
            let writer =
                Writer { number, batch, servers: servers.clone(), acks: load.acks.clone() };
            load.writers.spawn(writer.run(load.stop.clone()));
        }
        for number in 0..watchers {
            load.watchers.spawn(watch_all(number, servers.clone(), load.head.subscribe(), gaps));
        }
        load
    }

    /// Waits for `count` more acknowledgements, and returns how long that took.
    pub async fn acknowledged(&self, count: u64) -> Duration {
        let start = Instant::now();
        let mut acks = self.acks.subscribe();
        let wanted = *acks.borrow() + count;
        let more = acks.wait_for(|acks| *acks >= wanted);
        timeout(PATIENCE, more).await.expect("acknowledged in time").expect("the load runs");
        start.elapsed()
    }

    /// Lets the writers finish their messages and the watchers read everything.
    pub async fn end(mut self) -> Observed {
        self.stop.cancel();
        let mut acked = Acked::new();
        while let Some(newly) = self.writers.join_next().await {
            acked.extend(newly.expect("a writer ends"));
        }
        self.head.send_replace(Some(acked.values().copied().max().unwrap_or(0)));
        let (mut seen, mut gaps) = (Vec::new(), Vec::new());
        while let Some(watched) = self.watchers.join_next().await {
            let watched = watched.expect("a watcher ends");
            seen.push(watched.seen);
            gaps.extend(watched.gaps);
        }
        Observed { acked, seen, gaps }
    }
}

struct Writer {
    number: usize,
    batch: usize,
    servers: Arc<[Http]>,
    acks: Arc<watch::Sender<u64>>,
}

impl Writer {
    async fn run(self, stop: CancellationToken) -> Acked {
        let mut acked = Acked::new();
        let mut sent = 0;
        while !stop.is_cancelled() {
            let messages: Vec<Value> = (sent..sent + self.batch).map(|n| self.message(n)).collect();
            sent += self.batch;
            self.insist(messages, &mut acked).await;
        }
        acked
    }

    fn message(&self, number: usize) -> Value {
        json!({
            "id": Uuid::now_v7(), "kind": "task", "type": "step", "sender_id": format!("w{}", self.number),
            "task_id": format!("t{}", number % 50), "content": format!("step {number}"),
        })
    }

    /// Repeats messages until each is acknowledged.
    async fn insist(&self, mut open: Vec<Value>, acked: &mut Acked) {
        let deadline = Instant::now() + PATIENCE;
        let mut at = self.number;
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "writer {} is stuck with {open:?}", self.number);
            let http = &self.servers[at % self.servers.len()];
            let newly = match open.as_slice() {
                [one] => single(http, one).await,
                many => batch(http, many).await,
            };
            for (id, seq) in &newly {
                let before = acked.insert(id.clone(), *seq);
                assert!(before.is_none_or(|before| before == *seq), "{id}: {before:?}, then {seq}");
            }
            let new = newly.len() as u64;
            self.acks.send_modify(|acks| *acks += new);
            open.retain(|message| !acked.contains_key(message["id"].as_str().expect("an id")));
            if !open.is_empty() {
                at += 1;
                sleep(RETRY).await;
            }
        }
    }
}

/// Posts one message; returns its id and sequence if it was acknowledged.
async fn single(http: &Http, message: &Value) -> Vec<(String, u64)> {
    let headers = [("content-type", "application/json")];
    let sent = http.request(Method::POST, "/v1/messages", &headers, message.to_string());
    let Ok(answer) = timeout(ANSWER, sent).await.expect("an answer in time") else {
        return Vec::new();
    };
    match answer.status {
        200 | 201 => vec![taken(&answer.json())],
        status => {
            assert_eq!(status, 503, "{}", answer.text());
            Vec::new()
        }
    }
}

/// Posts a batch; returns the ids and sequences of the acknowledged messages.
async fn batch(http: &Http, messages: &[Value]) -> Vec<(String, u64)> {
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let sent = http.request(Method::POST, "/v1/messages/batch", &headers, lines.join("\n"));
    let Ok(answer) = timeout(ANSWER, sent).await.expect("an answer in time") else {
        return Vec::new();
    };
    if answer.status != 200 {
        assert_eq!(answer.status, 503, "{}", answer.text());
        return Vec::new();
    }
    let answer = answer.json();
    let results = answer["results"].as_array().expect("results").iter();
    results
        .filter(|result| match result["status"].as_u64() {
            Some(200 | 201) => true,
            status => {
                assert_eq!(status, Some(503), "{result}");
                false
            }
        })
        .map(taken)
        .collect()
}

fn taken(result: &Value) -> (String, u64) {
    let id = result["id"].as_str().expect("an id").to_owned();
    (id, result["seq"].as_u64().expect("a sequence"))
}

/// Watches from the start up to the head, which is known only once the writers have ended.
async fn watch_all(
    number: usize,
    servers: Arc<[Http]>,
    mut head: watch::Receiver<Option<u64>>,
    gaps: bool,
) -> Watched {
    let (mut watched, mut last_event_id, mut at) = (Watched::default(), None, number);
    loop {
        let http = &servers[at % servers.len()];
        at += 1;
        let Ok(opened) = timeout(PATIENCE, http.try_stream("from=start", last_event_id)).await
        else {
            panic!("watcher {number} cannot open a stream");
        };
        let Ok(Ok(mut stream)) = opened else {
            sleep(RETRY).await;
            continue;
        };
        loop {
            let through = last_event_id.unwrap_or(0);
            if head.borrow_and_update().is_some_and(|head| through >= head) {
                return watched;
            }
            let frame = tokio::select! {
                frame = stream.try_next(PATIENCE) => frame,
                _ = head.changed() => continue,
            };
            match frame {
                Ok(frame) => {
                    if frame.is("gap") {
                        assert!(gaps, "watcher {number}: {frame:?}");
                        let gap = frame.json();
                        let end = |name: &str| gap[name].as_u64().expect("a sequence");
                        watched.gaps.push((end("from"), end("to")));
                    }
                    if frame.id.is_some() {
                        last_event_id = Some(frame.seq());
                    }
                    if frame.is_message() {
                        watched.seen.push(Record::of(&frame));
                    }
                }
                Err(Stop::Deadline) => {
                    panic!("watcher {number} receives nothing, not even a heartbeat")
                }
                Err(_) => break,
            }
        }
        sleep(RETRY).await;
    }
}

/// Waits until each server reports everything as stored; a server may be down for a while.
pub async fn all_committed(servers: &[&str], seq: u64) {
    for base in servers {
        let http = Http::new(base);
        eventually(PATIENCE, "the store has everything", async || {
            let headers: [(&str, &str); 0] = [];
            let path = "/v1/messages?limit=1&order=desc";
            let answer = http.request(Method::GET, path, &headers, "").await.ok()?;
            (answer.status == 200 && answer.json()["committed_through"].as_u64()? >= seq)
                .then_some(())
        })
        .await;
    }
}
