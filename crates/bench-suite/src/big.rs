//! Ten million stored messages against ten thousand: what grows with a log that should not.

use std::time::{Duration, Instant};

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::stage::Stage;
use agentbus_bench::address::Address;
use agentbus_bench::client::Connection;
use agentbus_bench::figures::Figures;
use agentbus_bench::plan::Plan;

const SMALL: u64 = 10_000;
const BIG: u64 = 10_000_000;
/// What the figures may grow to.
const SHARE: f64 = 1.1;
/// Messages a second while latency is taken.
const RATE: f64 = 500.0;
/// Requests of each kind, one after the other.
const REQUESTS: usize = 500;
/// Requests before, so that caches are as they are in use.
const WARMING: usize = 50;
/// What is asked for.
const ASKED: [(&str, &str); 3] = [
    ("history page of a task", "/v1/messages?task=t7&order=desc&limit=100"),
    ("history page of a sender's type", "/v1/messages?sender=a7&type=note&limit=100&after=5000"),
    ("stats", "/v1/stats"),
];

/// Medians in milliseconds, in the order of [`ASKED`], after the acknowledgement's; and memory.
struct Measured {
    medians: [f64; 4],
    resident: f64,
}

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let small = at(stage, SMALL).await?;
    let most = if stage.count(10) < 10 { BIG / 10 } else { BIG };
    let big = at(stage, most).await?;
    let row = |what: &str, unit, big: f64, small: f64| {
        let row = Row::new(what, unit, big).beside(small).share(Bound::AtMost(SHARE));
        row.note(format!("{} million messages stored, beside 10 thousand", most / 1_000_000))
    };
    let whats = std::iter::once("POST to committed, p50").chain(ASKED.map(|(what, _)| what));
    let mut rows: Vec<Row> = whats
        .zip(big.medians.iter().zip(small.medians))
        .map(|(what, (big, small))| row(what, "ms", *big, small))
        .collect();
    let mib = |bytes: f64| bytes / 1_048_576.0;
    rows.push(row("resident memory", "MiB", mib(big.resident), mib(small.resident)));
    Ok(rows)
}

async fn at(stage: &Stage, messages: u64) -> Result<Measured, SuiteError> {
    let database = stage.database().await?;
    database.grow(messages).await?;
    let server = stage.on_postgres(&database).await?;
    let plan = Plan {
        rate: Some(RATE),
        duration: stage.lasts() / 2,
        connections: 8,
        watch_lag: false,
        ..Plan::default()
    };
    let report = stage.load(server.address(), &plan).await?;
    let mut medians = [report.publish_ms.map_or(0.0, |spread| spread.p50), 0.0, 0.0, 0.0];
    for (median, (_, path)) in medians[1..].iter_mut().zip(ASKED) {
        *median = asked(server.address(), path).await?;
    }
    let resident = server.resident();
    server.stop().await;
    stage.clean_up().await;
    Ok(Measured { medians, resident })
}

/// The median of many requests, in milliseconds.
async fn asked(address: &Address, path: &str) -> Result<f64, SuiteError> {
    let request = format!("{}\r\n", address.head("GET", path));
    let mut connection = Connection::open(address).await?;
    let mut figures = Figures::new();
    for number in 0..WARMING + REQUESTS {
        let begun = Instant::now();
        let answer = connection.send(request.as_bytes()).await?;
        let took: Duration = begun.elapsed();
        if answer.status != 200 {
            let words = String::from_utf8_lossy(answer.body).into_owned();
            return Err(SuiteError::Failed(format!("{path}: {} {words}", answer.status)));
        }
        if number >= WARMING {
            figures.time(took);
        }
    }
    Ok(figures.median_millis().unwrap_or_default())
}
