//! Latency and memory with ten million stored messages and with ten thousand: they must not grow with the log.

use std::time::{Duration, Instant};

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::testbed::Testbed;
use agentbus_bench::address::Address;
use agentbus_bench::client::{Connection, describe};
use agentbus_bench::plan::Plan;
use agentbus_bench::samples::Samples;

const SMALL: u64 = 10_000;
const BIG: u64 = 10_000_000;
/// Largest ratio of a figure to the one of the small log.
const TARGET_RATIO: f64 = 1.1;
/// Messages a second while latency is measured.
const RATE: f64 = 500.0;
/// Sequential requests to each endpoint.
const REQUESTS: usize = 500;
/// Requests before these, which fill the caches.
const WARMUP_REQUESTS: usize = 50;
/// The measured endpoints.
const ENDPOINTS: [(&str, &str); 3] = [
    ("history page of a task", "/v1/messages?task=t7&order=desc&limit=100"),
    ("history page of a sender's type", "/v1/messages?sender=a7&type=note&limit=100&after=5000"),
    ("stats", "/v1/stats"),
];

/// Median latencies in milliseconds (publish, then [`ENDPOINTS`]), and resident memory in bytes.
struct Measured {
    medians: [f64; 4],
    resident: f64,
}

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let small = measure_with(testbed, SMALL).await?;
    let messages = if testbed.count(10) < 10 { BIG / 10 } else { BIG };
    let big = measure_with(testbed, messages).await?;
    let row = |what: &str, unit, big: f64, small: f64| {
        let row = Row::new(what, unit, big)
            .compared_with(small)
            .target_ratio(Bound::AtMost(TARGET_RATIO));
        row.note(format!(
            "{} million messages stored, compared with 10 thousand",
            messages / 1_000_000
        ))
    };
    let names = std::iter::once("POST to committed, p50").chain(ENDPOINTS.map(|(what, _)| what));
    let mut rows: Vec<Row> = names
        .zip(big.medians.iter().zip(small.medians))
        .map(|(what, (big, small))| row(what, "ms", *big, small))
        .collect();
    let mib = |bytes: f64| bytes / 1_048_576.0;
    rows.push(row("resident memory", "MiB", mib(big.resident), mib(small.resident)));
    Ok(rows)
}

async fn measure_with(testbed: &Testbed, messages: u64) -> Result<Measured, SuiteError> {
    let database = testbed.database().await?;
    database.grow(messages).await?;
    let server = testbed.on_postgres(&database).await?;
    let plan = Plan {
        rate: Some(RATE),
        duration: testbed.duration() / 2,
        connections: 8,
        watch_lag: false,
        ..Plan::default()
    };
    let report = testbed.load(server.address(), &plan).await?;
    let mut medians = [report.publish_ms.map_or(0.0, |summary| summary.p50), 0.0, 0.0, 0.0];
    for (median, (_, path)) in medians[1..].iter_mut().zip(ENDPOINTS) {
        *median = median_latency(server.address(), path).await?;
    }
    let resident = server.resident();
    server.stop().await;
    testbed.clean_up().await;
    Ok(Measured { medians, resident })
}

/// The median latency of requests to a path, in milliseconds.
async fn median_latency(address: &Address, path: &str) -> Result<f64, SuiteError> {
    let request = format!("{}\r\n", address.head("GET", path));
    let mut connection = Connection::open(address).await?;
    let mut samples = Samples::new();
    for number in 0..WARMUP_REQUESTS + REQUESTS {
        let started = Instant::now();
        let response = connection.send(request.as_bytes()).await?;
        let took: Duration = started.elapsed();
        if response.status != 200 {
            let response = describe(response.status, response.body);
            return Err(SuiteError::Failed(format!("{path}: {response}")));
        }
        if number >= WARMUP_REQUESTS {
            samples.record_time(took);
        }
    }
    Ok(samples.median_millis().unwrap_or_default())
}
