//! Measures a server: its latency and its memory.

use std::time::{Duration, Instant};

use crate::support::Http;

/// Latencies below this count as unchanged: a busy machine adds that much by itself.
pub const FLOOR: Duration = Duration::from_millis(50);
/// How many times larger a latency may be beside a hostile client.
pub const TIMES: u32 = 3;
/// Requests in one run.
const REQUESTS: usize = 100;

/// The 99th percentile of the latency of `GET path`, the median of three runs. Each response must be 200.
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

/// A member of `/proc/PID/status` that is given in kB, as bytes.
fn kilobytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the member");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Starts to record the peak memory of a process, and returns its memory now, in bytes.
pub fn begin_peak(pid: u32) -> u64 {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("forget the highest so far");
    kilobytes(pid, "VmRSS:")
}

/// The peak memory since [`begin_peak`], in bytes.
pub fn peak(pid: u32) -> u64 {
    kilobytes(pid, "VmHWM:")
}
