//! Many agents with inboxes, while agents and the server stop and start again; and many long polls at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Answer, Deployment, Http, Mode, eventually, for_each_mode, times, within};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(180);

/// The number of agents, each with an inbox.
fn agents() -> usize {
    times(300, 1_000)
}

fn name(n: usize) -> String {
    format!("agent-{n}")
}

/// Repeats a request until the server responds as wanted, since it may be down for a while.
async fn insist(
    http: &Http,
    method: Method,
    path: &str,
    body: String,
    wanted: fn(&Answer) -> bool,
) -> Answer {
    let headers = [("content-type", "application/json")];
    loop {
        match http.request(method.clone(), path, &headers, body.clone()).await {
            Ok(answer) if wanted(&answer) => return answer,
            // How long a client waits between two attempts.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Consumes an inbox up to `last`. At random it forgets what it has read, as if it had crashed. Returns what
/// it consumed, repeats included.
async fn agent(
    http: Http,
    name: String,
    last: tokio::sync::watch::Receiver<Option<HashMap<String, u64>>>,
) -> Vec<u64> {
    let inbox = format!("/v1/agents/{name}/inbox");
    let mut consumed = Vec::new();
    loop {
        let end = last.borrow().as_ref().map(|last| last.get(&name).copied().unwrap_or_default());
        if end.is_some_and(|end| consumed.last().copied().unwrap_or_default() >= end) {
            return consumed;
        }
        let path = format!("{inbox}?wait=1&limit=5");
        let page =
            insist(&http, Method::GET, &path, String::new(), |a| matches!(a.status, 200 | 204))
                .await;
        let page = if page.status == 200 { page.json() } else { json!({"messages": []}) };
        let messages = page["messages"].as_array().expect("messages").clone();
        let done = fastrand::usize(0..=messages.len());
        for message in &messages[..done] {
            assert_eq!(message["recipient_id"], name.as_str());
            consumed.push(message["seq"].as_u64().expect("a sequence"));
        }
        let crashed = fastrand::u8(..4) == 0;
        if let (Some(through), false) =
            (done.checked_sub(1).map(|at| &messages[at]["seq"]), crashed)
        {
            let body = json!({"through": through}).to_string();
            insist(&http, Method::POST, &format!("{inbox}/ack"), body, |a| a.status == 200).await;
        }
    }
}

/// Sends to random agents, and repeats each batch until it is acknowledged. Returns what each agent should
/// get, in order.
async fn send(http: &Http) -> HashMap<String, Vec<u64>> {
    let mut expected: HashMap<String, Vec<u64>> = HashMap::new();
    for _ in 0..times(1_500, 3_000) / 50 {
        let batch: Vec<Value> = (0..50)
            .map(|_| {
                json!({"id": uuid::Uuid::new_v4(), "kind": "message", "type": "note", "sender_id": "boss",
                    "recipient_id": name(fastrand::usize(..agents()))})
            })
            .collect();
        let body = Value::from(batch.clone()).to_string();
        let stored = |answer: &Answer| answer.status == 200 && answer.json()["accepted"] == 50;
        let answer = insist(http, Method::POST, "/v1/messages/batch", body, stored).await.json();
        for (message, result) in batch.iter().zip(answer["results"].as_array().expect("results")) {
            let recipient = message["recipient_id"].as_str().expect("a name").to_owned();
            expected
                .entry(recipient)
                .or_default()
                .push(result["seq"].as_u64().expect("a sequence"));
        }
    }
    expected
}

for_each_mode! {
    async fn every_agent_consumes_what_is_for_it_in_order(deployment: &Deployment) {
        let http = deployment.http();
        let (ended, last) = tokio::sync::watch::channel(None);
        let start = |half: usize| {
            let (http, last) = (http.clone(), last.clone());
            (0..agents()).filter(move |n| n % 2 == half).map(move |n| {
                let agent = agent(http.clone(), name(n), last.clone());
                tokio::spawn(async move { (name(n), agent.await) })
            })
        };
        let mut agents: Vec<_> = start(0).collect();
        let stopped = Arc::new(AtomicBool::new(false));
        let kill = async {
            while !stopped.load(Ordering::Relaxed) {
                // A few batches are sent between two kills.
                tokio::time::sleep(Duration::from_millis(700)).await;
                deployment.agentbus().kill9();
                deployment.agentbus().restart().await;
            }
        };
        let sent = async {
            let expected = send(http).await;
            stopped.store(true, Ordering::Relaxed);
            expected
        };
        let (expected, ()) = within(LIMIT, "all is sent", async { tokio::join!(sent, kill) }).await;
        // The other half was offline until now.
        agents.extend(start(1));
        ended.send_replace(Some(expected.iter().map(|(name, seqs)| (name.clone(), seqs[seqs.len() - 1])).collect()));
        within(LIMIT, "all is consumed", async {
            for agent in agents {
                let (name, consumed) = agent.await.expect("no panic");
                let mut first_times = Vec::new();
                for seq in consumed {
                    if first_times.last().is_none_or(|last| *last < seq) {
                        first_times.push(seq);
                    }
                }
                assert_eq!(Some(&first_times), expected.get(&name).or(Some(&Vec::new())), "{name}");
            }
        })
        .await;
    }
}

/// Opens `count` connections. Those already open are used meanwhile, since opening all may take longer than a
/// connection may be idle, and longer than a poll waits.
async fn connected(bus: &str, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        for _ in 0..1_000.min(count - streams.len()) {
            let address = bus.trim_start_matches("http://");
            streams.push(TcpStream::connect(address).await.expect("connects"));
        }
        for stream in &mut streams {
            ask(stream, bus, "/livez").await;
            let mut answer = [0; 1_024];
            let read = stream.read(&mut answer).await.expect("read");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "alive");
        }
    }
    streams
}

/// Sends a request whose response is not read.
async fn ask(stream: &mut TcpStream, bus: &str, path: &str) {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", bus.trim_start_matches("http://"));
    stream.write_all(request.as_bytes()).await.expect("sent");
}

/// CPU time and memory of a process.
fn usage(pid: u32) -> (Duration, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    let fields: Vec<u64> = rest.split(' ').map(|field| field.parse().unwrap_or_default()).collect();
    // proc(5), fields 14, 15 and 24: ticks of 10 ms and pages of 4 KiB.
    (Duration::from_millis((fields[11] + fields[12]) * 10), fields[21] * 4_096)
}

#[tokio::test]
async fn ten_thousand_wait_for_nothing_and_cost_nothing() {
    const WAITING: usize = 10_000;
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let (http, pid) = (deployment.http(), deployment.agentbus().pid());
    let (_, memory_before) = usage(pid);
    let mut polls = connected(deployment.bus(), WAITING).await;
    for (n, stream) in polls.iter_mut().enumerate() {
        ask(stream, deployment.bus(), &format!("/v1/agents/{}/inbox?wait=60", name(n))).await;
    }
    eventually(LIMIT, "all wait", async || {
        let stats = http.get("/v1/stats").await.expect(200).json();
        (stats["filter_groups"] == WAITING).then_some(())
    })
    .await;
    let period = Duration::from_secs(4);
    // The last requests may still be starting when all of them count as waiting.
    let memory = eventually(Duration::from_secs(30), "they cost nothing", async || {
        let (before, _) = usage(pid);
        tokio::time::sleep(period).await;
        let (after, memory) = usage(pid);
        eprintln!("{WAITING} waiting: {:?} of CPU in {period:?}", after - before);
        (after - before < period / 10).then_some(memory)
    })
    .await;
    let each = memory.saturating_sub(memory_before) / WAITING as u64;
    eprintln!("{WAITING} waiting: {each} bytes each");
    assert!(each < 48 * 1024, "{each} bytes each");
    // Only the agent with the message is woken.
    for n in [17, 9_999] {
        let message = json!({"kind": "message", "type": "note", "sender_id": "boss", "recipient_id": name(n)});
        http.post_json("/v1/messages", &message).await.expect(201);
        let mut answer = vec![0; 4_096];
        let read = within(Duration::from_secs(5), "an answer", polls[n].read(&mut answer))
            .await
            .expect("read");
        let text = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(
            text.starts_with("HTTP/1.1 200")
                && text.contains(&format!("\"recipient_id\":\"{}\"", name(n))),
            "{text}"
        );
    }
    let groups = eventually(LIMIT, "the two polls have ended", async || {
        let stats = http.get("/v1/stats").await.expect(200).json();
        stats["filter_groups"].as_u64().filter(|groups| *groups <= WAITING as u64 - 2)
    })
    .await;
    assert_eq!(groups, WAITING as u64 - 2, "the others wait on");
}
