//! Open loops: the latency at fixed rates.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::single::notes;
use super::testbed::Testbed;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;
use agentbus_bench::samples::Summary;

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let duration = testbed.duration();
    let slow =
        Plan { rate: Some(1_000.0), duration, connections: 16, subscribers: 1, ..Plan::default() };
    let fast = Plan { rate: Some(10_000.0), connections: 64, ..slow.clone() };
    let flood = Plan { rate: Some(100_000.0), batch: 500, connections: 64, ..slow.clone() };
    let nats = testbed.nats()?;
    let bare = {
        let server = testbed.bare_server(&nats, true).await?;
        let without_subscriber = |plan: &Plan| Plan { subscribers: 0, ..plan.clone() };
        let slow = testbed.load(server.address(), &without_subscriber(&slow)).await?;
        [slow, testbed.load(server.address(), &without_subscriber(&fast)).await?]
    };
    testbed.clean_up().await;
    let (server, _database) = testbed.on_nats(&nats, &[]).await?;
    let at_slow = testbed.load(server.address(), &slow).await?;
    let at_fast = testbed.load(server.address(), &fast).await?;
    let at_flood = testbed.load(server.address(), &flood).await?;
    server.stop().await;
    let mut rows = thousand(&bare[0], &at_slow);
    rows.extend(ten_thousand(&bare[1], &at_fast));
    rows.push(hundred_thousand(&at_flood));
    Ok(rows)
}

fn publish(report: &Report) -> Summary {
    report.publish_ms.unwrap_or_default()
}

fn thousand(bare: &Report, ours: &Report) -> Vec<Row> {
    vec![
        Row::new("1,000/s: POST to ack, p50", "ms", publish(ours).p50)
            .compared_with(publish(bare).p50)
            .target(Bound::AtMost(0.3)),
        Row::new("1,000/s: POST to ack, p99", "ms", publish(ours).p99)
            .compared_with(publish(bare).p99)
            .target(Bound::AtMost(1.5))
            .note(own_delay(ours)),
        Row::new("1,000/s: POST to event, p95", "ms", ours.event_latency().p95)
            .target(Bound::AtMost(1.0)),
    ]
}

fn ten_thousand(bare: &Report, ours: &Report) -> Vec<Row> {
    let lag = ours.projector.lag_ms.unwrap_or_default();
    let bare_lag = bare.projector.lag_ms.unwrap_or_default();
    vec![
        Row::new("10,000/s: POST to ack, p99", "ms", publish(ours).p99)
            .compared_with(publish(bare).p99),
        Row::new("10,000/s: POST to event, p95", "ms", ours.event_latency().p95)
            .target(Bound::AtMost(2.0))
            .note(own_delay(ours)),
        Row::new("10,000/s: store behind, p99", "ms", lag.p99)
            .compared_with(bare_lag.p99)
            .target(Bound::AtMost(100.0))
            .note(notes(ours)),
    ]
}

/// Overload, without a target.
fn hundred_thousand(ours: &Report) -> Row {
    let messages = ours.messages;
    let behind = ours.projector.lag_messages.unwrap_or_default();
    Row::new("100,000/s in batches of 500", "accepted/s", ours.accepted_per_s).note(format!(
        "{} refused, {} failed; ack p50 {:.0} p99 {:.0} ms; event p95 {:.0} ms; store at most {:.0} messages behind, {}",
        messages.refused,
        messages.failed,
        publish(ours).p50,
        publish(ours).p99,
        ours.event_latency().p95,
        behind.max,
        notes(ours)
    ))
}

/// The generator's share of a latency.
fn own_delay(report: &Report) -> String {
    let delay = report.generator.own_delay_ms.unwrap_or_default();
    format!("generator's own delay p50 {:.3} p99 {:.3} ms", delay.p50, delay.p99)
}
