//! One message a request, 64 connections: agentbus beside a handler that only publishes.

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::stage::Stage;
use agentbus_bench::Report;
use agentbus_bench::plan::Plan;

/// Messages a second, the whole row, and shares (the project's own targets).
const REACH: f64 = 30_000.0;
const SHARE: f64 = 0.85;
const SHARE_WITH_IDS: f64 = 0.7;

/// How often bare and agentbus are measured, in turn, and then agentbus without and with ids: a
/// machine's speed changes from minute to minute.
const ROUNDS: u32 = 4;

/// What some rounds came to.
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

pub(super) async fn measure(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let plan = Plan { duration: stage.lasts(), ..Plan::default() };
    let nats = stage.nats()?;
    let alone = {
        let server = stage.bare_server(&nats, false).await?;
        stage.load(server.address(), &plan).await?
    };
    stage.clean_up().await;
    let both = stage.bare_server(&nats, true).await?;
    let (server, _database) = stage.on_nats(&nats, &[]).await?;
    let round = Plan { duration: stage.lasts() / 2, ..plan.clone() };
    let (mut bare, mut ours) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        bare.add(&stage.load(both.address(), &round).await?);
        ours.add(&stage.load(server.address(), &round).await?);
    }
    // Afterwards, so that agentbus has no more rows than the bare part while it stands beside it.
    let round_with_ids = Plan { ids: true, ..round.clone() };
    let (mut without, mut with_ids) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        without.add(&stage.load(server.address(), &round).await?);
        with_ids.add(&stage.load(server.address(), &round_with_ids).await?);
    }
    server.stop().await;
    Ok(vec![
        Row::bare("POST, handler alone", "messages/s", alone.accepted_per_s).note(notes(&alone)),
        Row::new("POST, projector live", "messages/s", ours.mean())
            .beside(bare.mean())
            .reach(Bound::AtLeast(REACH))
            .share(Bound::AtLeast(SHARE))
            .note(format!("in turn: bare {}; agentbus {}", bare.note(), ours.note())),
        Row::new("the same with ids, beside none", "messages/s", with_ids.mean())
            .beside(without.mean())
            .share(Bound::AtLeast(SHARE_WITH_IDS))
            .note(format!("in turn: without {}; with {}", without.note(), with_ids.note())),
    ])
}

/// What else is worth knowing of a run.
pub(super) fn notes(report: &Report) -> String {
    let mut notes = Vec::new();
    if let Some(publish) = &report.publish_ms {
        notes.push(format!("p50 {:.2} p99 {:.2} ms", publish.p50, publish.p99));
    }
    notes.push(match report.projector.caught_up_ms {
        Some(millis) => format!("stored {millis:.0} ms after"),
        None => "never stored".to_owned(),
    });
    let not = report.messages.all() - report.messages.accepted;
    if not > 0 {
        notes.push(format!("{not} not accepted"));
    }
    if report.generator.fell_behind {
        notes.push("generator fell behind".to_owned());
    }
    notes.join(", ")
}
