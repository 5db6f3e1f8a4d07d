//! Open loops: what latency is at a rate that is asked for, whatever the server does.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::single::notes;
use super::stage::Stage;
use agentbus_bench::Report;
use agentbus_bench::figures::Spread;
use agentbus_bench::plan::Plan;

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let lasts = stage.lasts();
    let slow = Plan {
        rate: Some(1_000.0),
        duration: lasts,
        connections: 16,
        subscribers: 1,
        ..Plan::default()
    };
    let quick = Plan { rate: Some(10_000.0), connections: 64, ..slow.clone() };
    let flood = Plan { rate: Some(100_000.0), batch: 500, connections: 64, ..slow.clone() };
    let nats = stage.nats()?;
    let bare = {
        let server = stage.bare_server(&nats, true).await?;
        let alone = |plan: &Plan| Plan { subscribers: 0, ..plan.clone() };
        let slow = stage.load(server.address(), &alone(&slow)).await?;
        [slow, stage.load(server.address(), &alone(&quick)).await?]
    };
    stage.clean_up().await;
    let (server, _database) = stage.on_nats(&nats, &[]).await?;
    let at_slow = stage.load(server.address(), &slow).await?;
    let at_quick = stage.load(server.address(), &quick).await?;
    let at_flood = stage.load(server.address(), &flood).await?;
    server.stop().await;
    let mut rows = thousand(&bare[0], &at_slow);
    rows.extend(ten_thousand(&bare[1], &at_quick));
    rows.push(hundred_thousand(&at_flood));
    Ok(rows)
}

fn publish(report: &Report) -> Spread {
    report.publish_ms.unwrap_or_default()
}

fn event(report: &Report) -> Spread {
    report.events.as_ref().and_then(|events| events.latency_ms).unwrap_or_default()
}

fn thousand(bare: &Report, ours: &Report) -> Vec<Row> {
    vec![
        Row::new("1,000/s: POST to ack, p50", "ms", publish(ours).p50)
            .beside(publish(bare).p50)
            .reach(Bound::AtMost(0.3)),
        Row::new("1,000/s: POST to ack, p99", "ms", publish(ours).p99)
            .beside(publish(bare).p99)
            .reach(Bound::AtMost(1.5))
            .note(own_delay(ours)),
        Row::new("1,000/s: POST to event, p95", "ms", event(ours).p95).reach(Bound::AtMost(1.0)),
    ]
}

fn ten_thousand(bare: &Report, ours: &Report) -> Vec<Row> {
    let lag = ours.projector.lag_ms.unwrap_or_default();
    let bare_lag = bare.projector.lag_ms.unwrap_or_default();
    vec![
        Row::new("10,000/s: POST to ack, p99", "ms", publish(ours).p99).beside(publish(bare).p99),
        Row::new("10,000/s: POST to event, p95", "ms", event(ours).p95)
            .reach(Bound::AtMost(2.0))
            .note(own_delay(ours)),
        Row::new("10,000/s: store behind, p99", "ms", lag.p99)
            .beside(bare_lag.p99)
            .reach(Bound::AtMost(100.0))
            .note(notes(ours)),
    ]
}

/// What happens, said plainly: there is nothing to reach.
fn hundred_thousand(ours: &Report) -> Row {
    let messages = ours.messages;
    let behind = ours.projector.lag_messages.unwrap_or_default();
    Row::new("100,000/s in batches of 500", "accepted/s", ours.accepted_per_s).note(format!(
        "{} refused, {} failed; ack p50 {:.0} p99 {:.0} ms; event p95 {:.0} ms; store at most {:.0} messages behind, {}",
        messages.refused,
        messages.failed,
        publish(ours).p50,
        publish(ours).p99,
        event(ours).p95,
        behind.max,
        notes(ours)
    ))
}

/// How much of a latency is the generator's.
fn own_delay(report: &Report) -> String {
    let own = report.generator.own_delay_ms.unwrap_or_default();
    format!("generator's own delay p50 {:.3} p99 {:.3} ms", own.p50, own.p99)
}
