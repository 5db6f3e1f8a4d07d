//! Many subscribers, each of its own task: what it costs that most messages are not for most of them.

use std::time::Duration;

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::stage::Stage;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;
use agentbus_bench::server::Server;

/// Messages a second.
const RATE: f64 = 10_000.0;
const FEW: usize = 500;
const MANY: usize = 5_000;
/// Ninety-ninth percentile to the event, in milliseconds, and processor time against few.
const P99_MS: f64 = 25.0;
const CPU: f64 = 1.2;

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = stage.on_nats(&stage.nats()?, &[]).await?;
    let few = load(stage, &server, FEW).await?;
    let many = load(stage, &server, MANY).await?;
    server.stop().await;
    let latency = |report: &Report| {
        report.events.as_ref().and_then(|events| events.latency_ms).unwrap_or_default()
    };
    let (spread, few_spread) = (latency(&many.0), latency(&few.0));
    Ok(vec![
        Row::new("5,000 of a task each: p99 to the event", "ms", spread.p99)
            .beside(few_spread.p99)
            .reach(Bound::AtMost(P99_MS))
            .note(format!(
                "beside 500; {:.0}/s accepted, {} events",
                many.0.accepted_per_s,
                many.0.events.as_ref().map_or(0, |events| events.received)
            )),
        Row::new("processor time, beside 500 subscribers", "cores", many.1)
            .beside(few.1)
            .share(Bound::AtMost(CPU)),
    ])
}

/// The report, and the cores that the server took.
async fn load(
    stage: &Stage,
    server: &Server,
    subscribers: usize,
) -> Result<(Report, f64), SuiteError> {
    let plan = Plan {
        rate: Some(RATE),
        duration: stage.lasts(),
        tasks: subscribers,
        subscribers,
        filters: vec!["task=bench-{n}".to_owned()],
        ..Plan::default()
    };
    // From the first look to the last: opening the streams is not in it.
    let mut looks: Option<[(Duration, f64); 2]> = None;
    let report = stage
        .load_watched(server.address(), &plan, |snapshot| {
            let look = (snapshot.elapsed, server.cpu());
            looks = Some([looks.map_or(look, |looks| looks[0]), look]);
        })
        .await?;
    let [first, last] = looks.unwrap_or_default();
    let cores = (last.1 - first.1) / (last.0 - first.0).as_secs_f64().max(0.001);
    Ok((report, cores))
}
