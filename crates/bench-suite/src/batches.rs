//! Batches of 500 in a closed loop, until the store has the last message.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::single::notes;
use super::testbed::{Testbed, batch_plan};
use crate::bare::nats::MAX_MESSAGES;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;

/// The project's targets: messages a second into the store, and ratio to the bare server.
const TARGET: f64 = 60_000.0;
const TARGET_RATIO: f64 = 0.75;
/// Longest time from the last response until the store has everything at the target rate, in milliseconds.
const MAX_LAG_MS: f64 = 1_000.0;

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let plan = batch_plan(testbed.duration());
    let nats = testbed.nats()?;
    let bare = {
        let server = testbed.bare_server(&nats, true).await?;
        testbed.load(server.address(), &plan).await?
    };
    testbed.clean_up().await;
    let max_messages = MAX_MESSAGES.to_string();
    let (server, _database) = testbed.on_nats(&nats, &[("NATS_MAX_MSGS", &max_messages)]).await?;
    let ours = testbed.load(server.address(), &plan).await?;
    let paced = testbed.load(server.address(), &Plan { rate: Some(TARGET), ..plan }).await?;
    server.stop().await;
    let behind = paced.projector.caught_up_ms.unwrap_or(f64::INFINITY);
    Ok(vec![
        Row::new("batches of 500, into the store", "messages/s", sustained(&ours))
            .compared_with(sustained(&bare))
            .target(Bound::AtLeast(TARGET))
            .target_ratio(Bound::AtLeast(TARGET_RATIO))
            .note(format!(
                "accepted: bare {:.0}/s, agentbus {:.0}/s; bare: {}; agentbus: {}",
                bare.accepted_per_s,
                ours.accepted_per_s,
                notes(&bare),
                notes(&ours)
            )),
        Row::new("at 60,000/s: stored after the last ack", "ms", behind)
            .target(Bound::AtMost(MAX_LAG_MS))
            .note(format!("{:.0}/s accepted, {}", paced.accepted_per_s, notes(&paced))),
    ])
}

/// Accepted messages a second, by the time at which the store had the last one.
fn sustained(report: &Report) -> f64 {
    let Some(behind) = report.projector.caught_up_ms else { return 0.0 };
    report.messages.accepted as f64 / (report.answered_s + behind / 1_000.0)
}
