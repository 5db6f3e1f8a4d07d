//! Many subscribers, each of its own task: the cost of filters, since few messages match each subscriber.

use std::time::Duration;

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::testbed::Testbed;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;
use agentbus_bench::server::Server;

/// Messages a second.
const RATE: f64 = 10_000.0;
/// Numbers of subscribers.
const FEW: usize = 500;
const MANY: usize = 5_000;
/// The project's targets: 99th percentile of the latency to the event in milliseconds, and the ratio of processor time
/// with many subscribers to that with few.
const MAX_P99_MS: f64 = 25.0;
const MAX_CPU_RATIO: f64 = 1.2;

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = testbed.on_nats(&testbed.nats()?, &[]).await?;
    let few = load(testbed, &server, FEW).await?;
    let many = load(testbed, &server, MANY).await?;
    server.stop().await;
    let (summary, few_summary) = (many.0.event_latency(), few.0.event_latency());
    Ok(vec![
        Row::new("5,000 of a task each: p99 to the event", "ms", summary.p99)
            .compared_with(few_summary.p99)
            .target(Bound::AtMost(MAX_P99_MS))
            .note(format!(
                "compared with 500; {:.0}/s accepted, {} events",
                many.0.accepted_per_s,
                many.0.events.as_ref().map_or(0, |events| events.received)
            )),
        Row::new("processor time, beside 500 subscribers", "cores", many.1)
            .compared_with(few.1)
            .target_ratio(Bound::AtMost(MAX_CPU_RATIO)),
    ])
}

/// The report, and the processor time of the server in cores.
async fn load(
    testbed: &Testbed,
    server: &Server,
    subscribers: usize,
) -> Result<(Report, f64), SuiteError> {
    let plan = Plan {
        rate: Some(RATE),
        duration: testbed.duration(),
        tasks: subscribers,
        subscribers,
        filters: vec!["task=bench-{n}".to_owned()],
        ..Plan::default()
    };
    // Between the first and the last snapshot, so that the opening of the streams does not count.
    let mut readings: Option<[(Duration, f64); 2]> = None;
    let report = testbed
        .load_with_progress(server.address(), &plan, |snapshot| {
            let reading = (snapshot.elapsed, server.cpu());
            readings = Some([readings.map_or(reading, |readings| readings[0]), reading]);
        })
        .await?;
    let [first, last] = readings.unwrap_or_default();
    let cores = (last.1 - first.1) / (last.0 - first.0).as_secs_f64().max(0.001);
    Ok((report, cores))
}
