//! A well-behaved client at its own address, and its latency beside a hostile client.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::support::{Agentbus, Http};

/// The address of the well-behaved client; hostile clients use 127.0.0.1.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Latencies below this count as unchanged.
const FLOOR: Duration = Duration::from_millis(50);
/// How many times larger the latency may become.
const FACTOR: u32 = 3;
/// How long the client waits between two requests.
const PACE: Duration = Duration::from_millis(10);
/// Requests in one run.
const REQUESTS: usize = 150;
/// Runs in one measurement; the median counts.
const RUNS: usize = 3;

/// A client that sends a message or reads a page a hundred times a second.
pub struct Neighbour {
    http: Http,
    quiet: Duration,
    /// Only one measurement runs at a time, since two floods would measure each other.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::const_new(());

impl Neighbour {
    /// Measures the latency without other clients.
    pub async fn of(server: &Agentbus) -> Self {
        let alone = ALONE.lock().await;
        let http = Http::from_address(server.url(), ADDRESS);
        let quiet = median(&http).await;
        Self { http, quiet, _alone: alone }
    }

    /// Fails the test if this client is refused or becomes much slower.
    pub async fn notices_nothing_of(&self, what: &str) {
        let beside = median(&self.http).await;
        println!("{what}: p99 {beside:.1?} beside it, {:.1?} alone", self.quiet);
        let most = FLOOR.max(self.quiet * FACTOR);
        assert!(beside <= most, "{what}: p99 {beside:?}, and {:?} alone", self.quiet);
    }
}

/// The median of the p99s of `RUNS` runs.
async fn median(http: &Http) -> Duration {
    let mut runs = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        runs.push(p99(http).await);
    }
    runs.sort_unstable();
    runs[RUNS / 2]
}

async fn p99(http: &Http) -> Duration {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Vec::with_capacity(REQUESTS);
    for number in 0..REQUESTS {
        pace.tick().await;
        let begun = Instant::now();
        let status = if number % 2 == 0 {
            let message = json!({"kind": "message", "type": "note", "sender_id": "neighbour", "content": "all is well"});
            http.post_json("/v1/messages", &message).await.status
        } else {
            http.get("/v1/messages?limit=10&order=desc").await.status
        };
        took.push(begun.elapsed());
        assert!(matches!(status, 200 | 201), "the neighbour is refused: {status}");
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Resident memory of a process, in KiB.
pub fn resident_kib(server: &Agentbus) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
