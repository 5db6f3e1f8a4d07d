//! A thousand subscribers of one filter.
//!
//! The rate rises step by step, for agentbus and for the bare sockets. The figure is the highest event rate.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::testbed::Testbed;
use crate::bare::sockets;
use agentbus_bench::Report;
use agentbus_bench::address::Address;
use agentbus_bench::plan::Plan;

const SUBSCRIBERS: usize = 1_000;
/// Enough that connections do not limit the rate: while a thousand subscribers are served a response takes 10 ms, so
/// that 16 connections would carry only about 1,600 messages a second.
const CONNECTIONS: usize = 64;
/// Rates in messages a second, tried in this order.
const RATES: [f64; 7] = [1_000.0, 1_500.0, 2_000.0, 3_000.0, 4_000.0, 6_000.0, 8_000.0];
/// The project's targets, of which one suffices: events a second, and ratio to the bare sockets.
const TARGET: f64 = 1_500_000.0;
const TARGET_RATIO: f64 = 0.9;
/// Below this share of the expected events the rate counts as missed, and higher ones are not tried.
const MIN_EVENT_SHARE: f64 = 0.97;

/// The highest event rate, and a note about it.
struct Peak {
    per_s: f64,
    note: String,
}

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let bare = {
        let server = sockets::start().await?;
        find_peak(testbed, server.address()).await?
    };
    let (server, _database) = testbed.on_nats(&testbed.nats()?, &[]).await?;
    let ours = find_peak(testbed, server.address()).await?;
    server.stop().await;
    Ok(vec![
        Row::new("1,000 subscribers of one filter", "events/s", ours.per_s)
            .compared_with(bare.per_s)
            .target(Bound::AtLeast(TARGET))
            .target_ratio(Bound::AtLeast(TARGET_RATIO))
            .either()
            .note(format!("bare: {}; agentbus: {}", bare.note, ours.note)),
    ])
}

async fn find_peak(testbed: &Testbed, address: &Address) -> Result<Peak, SuiteError> {
    let mut peak = Peak { per_s: 0.0, note: String::new() };
    for rate in RATES {
        let plan = Plan {
            rate: Some(rate),
            duration: testbed.duration() / 2,
            connections: CONNECTIONS,
            subscribers: SUBSCRIBERS,
            ..Plan::default()
        };
        let report = testbed.load(address, &plan).await?;
        let Some(per_s) = report.events.as_ref().map(|events| events.per_s) else { break };
        if per_s > peak.per_s {
            peak = Peak { per_s, note: note(rate, &report) };
        }
        if per_s < rate * MIN_EVENT_SHARE * SUBSCRIBERS as f64 {
            break;
        }
    }
    Ok(peak)
}

fn note(rate: f64, report: &Report) -> String {
    let latency = report.event_latency();
    let missing = report.events.as_ref().and_then(|events| events.missing).unwrap_or_default();
    let lost = if missing > 0 { format!(", {missing} lost") } else { String::new() };
    format!("at {rate:.0}/s, p50 {:.1} p99 {:.0} ms{lost}", latency.p50, latency.p99)
}
