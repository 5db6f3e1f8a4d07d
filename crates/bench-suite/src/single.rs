//! One message a request over 64 connections: agentbus and a handler that only publishes.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::testbed::Testbed;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;

/// The project's targets: messages a second, ratio to the bare server, ratio with ids to without.
const TARGET: f64 = 30_000.0;
const TARGET_RATIO: f64 = 0.85;
const TARGET_RATIO_WITH_IDS: f64 = 0.7;

/// Rounds in which bare server and agentbus, then agentbus without and with ids, are measured in turn: the speed of a
/// machine changes from minute to minute.
const ROUNDS: u32 = 4;

/// The results of several rounds.
#[derive(Default)]
struct Rounds {
    per_s: Vec<f64>,
    last: String,
}

impl Rounds {
    fn add(&mut self, report: &Report) {
        self.per_s.push(report.accepted_per_s);
        self.last = notes(report);
    }

    fn mean(&self) -> f64 {
        self.per_s.iter().sum::<f64>() / self.per_s.len().max(1) as f64
    }

    fn note(&self) -> String {
        let each: Vec<String> = self.per_s.iter().map(|per_s| format!("{per_s:.0}")).collect();
        format!("{}/s, the last with {}", each.join(" "), self.last)
    }
}

pub(super) async fn measure(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let plan = Plan { duration: testbed.duration(), ..Plan::default() };
    let nats = testbed.nats()?;
    let handler_alone = {
        let server = testbed.bare_server(&nats, false).await?;
        testbed.load(server.address(), &plan).await?
    };
    testbed.clean_up().await;
    let with_projector = testbed.bare_server(&nats, true).await?;
    let (server, _database) = testbed.on_nats(&nats, &[]).await?;
    let round = Plan { duration: testbed.duration() / 2, ..plan.clone() };
    let (mut bare, mut ours) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        bare.add(&testbed.load(with_projector.address(), &round).await?);
        ours.add(&testbed.load(server.address(), &round).await?);
    }
    // After the comparison, so that agentbus and the bare server have the same number of rows in it.
    let round_with_ids = Plan { ids: true, ..round.clone() };
    let (mut without, mut with_ids) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        without.add(&testbed.load(server.address(), &round).await?);
        with_ids.add(&testbed.load(server.address(), &round_with_ids).await?);
    }
    server.stop().await;
    Ok(vec![
        Row::bare("POST, handler alone", "messages/s", handler_alone.accepted_per_s)
            .note(notes(&handler_alone)),
        Row::new("POST, projector live", "messages/s", ours.mean())
            .compared_with(bare.mean())
            .target(Bound::AtLeast(TARGET))
            .target_ratio(Bound::AtLeast(TARGET_RATIO))
            .note(format!("in turn: bare {}; agentbus {}", bare.note(), ours.note())),
        Row::new("the same with ids, beside none", "messages/s", with_ids.mean())
            .compared_with(without.mean())
            .target_ratio(Bound::AtLeast(TARGET_RATIO_WITH_IDS))
            .note(format!("in turn: without {}; with {}", without.note(), with_ids.note())),
    ])
}

/// Latency, lag and failures of a run, for the note of a row.
pub(super) fn notes(report: &Report) -> String {
    let mut notes = Vec::new();
    if let Some(publish) = &report.publish_ms {
        notes.push(format!("p50 {:.2} p99 {:.2} ms", publish.p50, publish.p99));
    }
    notes.push(match report.projector.caught_up_ms {
        Some(millis) => format!("stored {millis:.0} ms later"),
        None => "never stored".to_owned(),
    });
    let not_accepted = report.messages.total() - report.messages.accepted;
    if not_accepted > 0 {
        notes.push(format!("{not_accepted} not accepted"));
    }
    if report.generator.fell_behind {
        notes.push("generator was late".to_owned());
    }
    notes.join(", ")
}
