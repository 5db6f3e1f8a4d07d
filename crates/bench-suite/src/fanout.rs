//! One message to a thousand: subscribers of one filter.
//!
//! The rate is raised step by step, for agentbus and for bare sockets alike; what counts is the most that
//! reached all of them.

use super::bare_sockets::BareSockets;
use super::error::SuiteError;
use super::row::{Bound, Row};
use super::stage::Stage;
use agentbus_bench::Report;
use agentbus_bench::address::Address;
use agentbus_bench::plan::Plan;

const SUBSCRIBERS: usize = 1_000;
/// Enough that posts do not wait for each other: while a thousand subscribers have their turn, an answer takes
/// 10 ms, so that 16 connections would end at some 1,600 messages a second whatever became of their events.
const CONNECTIONS: usize = 64;
/// Messages a second that are tried.
const RATES: [f64; 7] = [1_000.0, 1_500.0, 2_000.0, 3_000.0, 4_000.0, 6_000.0, 8_000.0];
/// Events a second, and the share of bare sockets; one of the two.
const REACH: f64 = 1_500_000.0;
const SHARE: f64 = 0.9;
/// Below this share of the rate it was not kept up with, and higher ones are not tried.
const KEPT_UP: f64 = 0.97;

/// The most that reached all, and the message about it.
struct Most {
    per_s: f64,
    note: String,
}

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let bare = {
        let sockets = BareSockets::start().await?;
        most(stage, sockets.address()).await?
    };
    let (server, _database) = stage.on_nats(&stage.nats()?, &[]).await?;
    let ours = most(stage, server.address()).await?;
    server.stop().await;
    Ok(vec![
        Row::new("1,000 subscribers of one filter", "events/s", ours.per_s)
            .beside(bare.per_s)
            .reach(Bound::AtLeast(REACH))
            .share(Bound::AtLeast(SHARE))
            .either()
            .note(format!("bare: {}; agentbus: {}", bare.note, ours.note)),
    ])
}

async fn most(stage: &Stage, address: &Address) -> Result<Most, SuiteError> {
    let mut most = Most { per_s: 0.0, note: String::new() };
    for rate in RATES {
        let plan = Plan {
            rate: Some(rate),
            duration: stage.lasts() / 2,
            connections: CONNECTIONS,
            subscribers: SUBSCRIBERS,
            ..Plan::default()
        };
        let report = stage.load(address, &plan).await?;
        let Some(per_s) = report.events.as_ref().map(|events| events.per_s) else { break };
        if per_s > most.per_s {
            most = Most { per_s, note: note(rate, &report) };
        }
        if per_s < rate * KEPT_UP * SUBSCRIBERS as f64 {
            break;
        }
    }
    Ok(most)
}

fn note(rate: f64, report: &Report) -> String {
    let events = report.events.as_ref();
    let latency = events.and_then(|events| events.latency_ms).unwrap_or_default();
    let missing = events.and_then(|events| events.missing).unwrap_or_default();
    let lost = if missing > 0 { format!(", {missing} lost") } else { String::new() };
    format!("at {rate:.0}/s, p50 {:.1} p99 {:.0} ms{lost}", latency.p50, latency.p99)
}
