//! Under overload, accepted messages are acknowledged soon, the others are refused soon, and memory stays
//! bounded. Idle and slow connections do not affect other clients.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::records::history;
use crate::support::wire::committed;
use crate::support::{Deployment, Http, Mode};

/// Number of clients: more than the server admits at once (2,048).
const CLIENTS: usize = 3_000;
/// How much the server's memory may grow under thousands of clients.
const GROWTH_KIB: usize = 400 * 1024;
/// Time limit for a response: the contract allows 6 s for a refusal by the bus, and an overload is detected
/// at once.
const ANSWER: Duration = Duration::from_secs(6);
/// How many file descriptors are needed beside those of the idle connections.
const OTHER_FILES: usize = 1_500;

pub fn resident_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1_024)
}

async fn post(http: &Http, number: usize) -> Option<(u16, Duration)> {
    let message = json!({"kind": "task", "type": "step", "task_id": format!("t{}", number % 100),
        "sender_id": "client", "content": format!("{number} {}", "x".repeat(200))});
    let headers = [("content-type", "application/json")];
    let start = Instant::now();
    let answer = http.request(Method::POST, "/v1/messages", &headers, message.to_string()).await;
    answer.ok().map(|answer| (answer.status, start.elapsed()))
}

/// How long each response took.
#[derive(Default)]
struct Answers {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
}

/// Their number and latencies, as text.
fn summary(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    let slowest = took.last().copied().unwrap_or_default();
    let (half, most) = (at(50), at(99));
    format!("{} (p50 {half:.1?}, p99 {most:.1?}, slowest {slowest:.1?})", took.len())
}

async fn pressed(mode: Mode) {
    let clients = CLIENTS.min(open_files() / 4);
    let deployment = Deployment::start(mode).await;
    let pid = deployment.agentbus().pid();
    for number in 0..200 {
        post(deployment.http(), number).await.expect("an answer");
    }
    let before = resident_kib(pid);
    let until = Instant::now() + Duration::from_secs(8);
    let mut pressing = JoinSet::new();
    for client in 0..clients {
        let http = Http::new(deployment.bus());
        pressing.spawn(async move {
            let mut answers = Answers::default();
            while Instant::now() < until {
                let number = client * 100_000 + answers.accepted.len() + answers.refused.len();
                match post(&http, number).await {
                    Some((201, took)) => answers.accepted.push(took),
                    Some((503, took)) => answers.refused.push(took),
                    Some((status, _)) => panic!("answered {status}"),
                    None => panic!("no answer"),
                }
            }
            answers
        });
    }
    let mut all = Answers::default();
    while let Some(answers) = pressing.join_next().await {
        let answers = answers.expect("a client ends");
        all.accepted.extend(answers.accepted);
        all.refused.extend(answers.refused);
    }
    let growth = resident_kib(pid).saturating_sub(before);
    let slowest = all.accepted.iter().chain(&all.refused).max().copied().unwrap_or_default();
    let accepted = all.accepted.len();
    eprintln!(
        "{mode:?}: {clients} clients at once: accepted {}; refused {}; {} MiB more",
        summary(all.accepted),
        summary(all.refused),
        growth / 1_024
    );
    assert!(slowest < ANSWER, "{slowest:?}");
    assert!(growth < GROWTH_KIB, "{growth} KiB more");
    let last = (200 + accepted) as u64;
    committed(deployment.http(), last).await;
    assert_eq!(
        history(deployment.http(), "").await.len() as u64,
        last,
        "neither lost nor duplicate"
    );
    let (status, took) = post(deployment.http(), 0).await.expect("an answer");
    assert!(status == 201 && took < Duration::from_secs(1), "{status} after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_clients_at_once_on_sqlite() {
    pressed(Mode::MemorySqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_clients_at_once_on_nats() {
    pressed(Mode::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_and_slow_bodies_do_not_affect_the_others() {
    // Each connection needs two descriptors, one here and one in the server, whose limit is the same.
    let idle = 10_000.min(open_files().saturating_sub(OTHER_FILES));
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let pid = deployment.agentbus().pid();
    let address = deployment.bus().trim_start_matches("http://").to_owned();
    let before = resident_kib(pid);
    let mut connections = Vec::with_capacity(idle);
    for number in 0..idle {
        let mut connection = TcpStream::connect(&address).await.expect("a connection");
        // Every tenth connection sends a part of a request and then nothing.
        if number % 10 == 0 {
            let part = format!(
                "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                 Content-Length: 500\r\n\r\n{{\"kind\":"
            );
            connection.write_all(part.as_bytes()).await.expect("sent");
        }
        connections.push(connection);
    }
    let mut slowest = Duration::ZERO;
    for number in 0..300 {
        let (status, took) = post(deployment.http(), number).await.expect("an answer");
        assert_eq!(status, 201);
        slowest = slowest.max(took);
    }
    let each = (resident_kib(pid).saturating_sub(before)) as f64 / idle as f64;
    eprintln!("{idle} idle connections: slowest of 300 posts {slowest:.1?}, {each:.1} KiB each");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(each < 24.0, "{each} KiB each");
    drop(connections);
}
