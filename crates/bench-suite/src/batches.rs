//! Batches of 500, as fast as they are taken, until the store has the last of them.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::single::notes;
use super::stage::{Stage, batch_plan};
use crate::bare::nats::MAX_MESSAGES;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;

/// Messages a second into the store, and the share of the bare parts.
const REACH: f64 = 60_000.0;
const SHARE: f64 = 0.75;
/// How far the store may be behind the last answer at that rate, in milliseconds.
const BEHIND_MS: f64 = 1_000.0;

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let plan = batch_plan(stage.lasts());
    let nats = stage.nats()?;
    let bare = {
        let server = stage.bare_server(&nats, true).await?;
        stage.load(server.address(), &plan).await?
    };
    stage.clean_up().await;
    let keeps = MAX_MESSAGES.to_string();
    let (server, _database) = stage.on_nats(&nats, &[("NATS_MAX_MSGS", &keeps)]).await?;
    let ours = stage.load(server.address(), &plan).await?;
    let paced = stage.load(server.address(), &Plan { rate: Some(REACH), ..plan }).await?;
    server.stop().await;
    let behind = paced.projector.caught_up_ms.unwrap_or(f64::INFINITY);
    Ok(vec![
        Row::new("batches of 500, into the store", "messages/s", sustained(&ours))
            .beside(sustained(&bare))
            .reach(Bound::AtLeast(REACH))
            .share(Bound::AtLeast(SHARE))
            .note(format!(
                "accepted: bare {:.0}/s, agentbus {:.0}/s; bare: {}; agentbus: {}",
                bare.accepted_per_s,
                ours.accepted_per_s,
                notes(&bare),
                notes(&ours)
            )),
        Row::new("at 60,000/s: stored after the last ack", "ms", behind)
            .reach(Bound::AtMost(BEHIND_MS))
            .note(format!("{:.0}/s accepted, {}", paced.accepted_per_s, notes(&paced))),
    ])
}

/// Messages a second, counted until the store had the last of them.
fn sustained(report: &Report) -> f64 {
    let Some(behind) = report.projector.caught_up_ms else { return 0.0 };
    report.messages.accepted as f64 / (report.answered_s + behind / 1_000.0)
}
