//! What a server needs: time for a response, memory.

use std::time::{Duration, Instant};

use crate::support::Http;

/// Below this a latency does not count: a busy machine adds that much by itself.
pub const FLOOR: Duration = Duration::from_millis(50);
/// By how much a latency may grow beside a hostile client.
pub const TIMES: u32 = 3;
/// Requests of one run.
const REQUESTS: usize = 100;

/// The 99th percentile of `GET path`, each answered with 200: the median of three runs.
pub async fn p99(http: &Http, path: &str) -> Duration {
    let mut runs = Vec::new();
    for _ in 0..3 {
        let mut took = Vec::new();
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            http.get(path).await.expect(200);
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        runs.push(took[REQUESTS * 99 / 100]);
    }
    runs.sort_unstable();
    runs[1]
}

/// A member of `/proc/PID/status` that counts kB, in bytes.
fn kilobytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the member");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Memory of a process now, in bytes; the highest is counted from here on.
pub fn begin_peak(pid: u32) -> u64 {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("forget the highest so far");
    kilobytes(pid, "VmRSS:")
}

/// The most memory since [`begin_peak`], in bytes.
pub fn peak(pid: u32) -> u64 {
    kilobytes(pid, "VmHWM:")
}
