//! What a run came to: for programs as JSON, for people as lines.

use std::time::Duration;

use serde::Serialize;

use super::figures::Spread;
use super::limits::{ACHIEVED_SHARE, BACKLOG_PATIENCE, OWN_DELAY, STOLEN_SHARE};
use super::meter::Tally;
use super::plan::Plan;

/// All figures of a run. Times are in milliseconds where a name says so, seconds else.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Host and port of what was measured.
    pub server: String,
    /// What was asked for.
    pub asked: Asked,
    /// Seconds that were measured: shorter than asked for when the run was ended early.
    pub measured_s: f64,
    /// Seconds from the begin of the measured time to the last answer.
    pub answered_s: f64,
    /// Messages accepted a second: those whose answers came in the measured time.
    pub accepted_per_s: f64,
    /// What became of the messages that should have been sent in the measured time.
    pub messages: Tally,
    /// Messages of an open loop that were not sent, since the server was still busy with earlier ones
    /// 5 s after the end. Their waits are missing in the latency.
    pub unsent: u64,
    /// What became of those of the warm-up.
    pub warmup: Tally,
    /// The first answer that was no acceptance, or the first error.
    pub first_trouble: Option<String>,
    /// From the intended time to the acknowledgement.
    pub publish_ms: Option<Spread>,
    /// What subscribers heard; `None` without any.
    pub events: Option<Events>,
    /// The store behind the log.
    pub projector: Projector,
    /// How well the generator itself kept up.
    pub generator: Generator,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// Messages a second; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Seconds that are measured.
    pub duration_s: f64,
    /// Seconds before that.
    pub warmup_s: f64,
    /// Connections that send.
    pub connections: usize,
    /// Bytes of content.
    pub sizes: Vec<usize>,
    /// Messages of a request.
    pub batch: usize,
    /// Whether messages brought ids.
    pub ids: bool,
    /// `stored` or `committed`.
    pub ack: &'static str,
    /// Tasks that messages were events of; 0 is messages to all.
    pub tasks: usize,
    /// Connections that listen.
    pub subscribers: usize,
    /// What they asked for.
    pub filters: Vec<String>,
}

/// What subscribers heard.
#[derive(Clone, Debug, Serialize)]
pub struct Events {
    /// Events of the run's messages, those of the warm-up included.
    pub received: u64,
    /// Events of others' messages.
    pub others: u64,
    /// Events a second in the measured time.
    pub per_s: f64,
    /// Bytes of events a second in the measured time.
    pub bytes_per_s: f64,
    /// Events that should have come and did not; `None` where filters decide how many should.
    pub missing: Option<u64>,
    /// Events out of order, or a second time.
    pub out_of_order: u64,
    /// Streams that ended before the run did.
    pub ended: usize,
    /// Why the first did.
    pub why_ended: Option<String>,
    /// From the intended time to the event; with many subscribers a sample.
    pub latency_ms: Option<Spread>,
}

/// The store behind the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Projector {
    /// Messages behind, sampled.
    pub lag_messages: Option<Spread>,
    /// Age of the oldest acknowledged message that the store lacked, sampled.
    pub lag_ms: Option<Spread>,
    /// From the last acknowledgement until the store had everything; `None`: not within 300 s.
    pub caught_up_ms: Option<f64>,
}

/// How well the generator itself kept up.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// Share of requests that began late because every connection awaited an answer.
    pub late_share: f64,
    /// How late the others began.
    pub own_delay_ms: Option<Spread>,
    /// Processor time this process took, as a share of one core.
    pub cores: Option<f64>,
    /// Share of the machine's processor time that its host gave to other machines, 0 to 1 (Linux: steal).
    pub stolen: Option<f64>,
    /// Whether the generator was too slow for the figures to be the server's alone.
    pub fell_behind: bool,
}

impl Asked {
    /// The part of a plan that is told.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            rate: plan.rate,
            duration_s: plan.duration.as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            connections: plan.connections,
            sizes: plan.sizes.clone(),
            batch: plan.batch,
            ids: plan.ids,
            ack: if plan.committed { "committed" } else { "stored" },
            tasks: plan.tasks,
            subscribers: plan.subscribers,
            filters: plan.filters.clone(),
        }
    }
}

impl Generator {
    /// Judges itself.
    #[must_use]
    pub fn of(late: u64, requests: u64, own_delay: Option<Spread>) -> Self {
        let limit = OWN_DELAY.as_secs_f64() * 1_000.0;
        Self {
            late_share: late as f64 / requests.max(1) as f64,
            own_delay_ms: own_delay,
            cores: None,
            stolen: None,
            fell_behind: own_delay.is_some_and(|spread| spread.p99 > limit),
        }
    }
}

impl Report {
    /// Whether everything was accepted, and every event came once and in order.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Tally { refused, rejected, failed, .. } = self.messages;
        let heard = self.events.as_ref().is_none_or(|events| {
            events.missing.unwrap_or(0) + events.out_of_order == 0 && events.ended == 0
        });
        refused + rejected + failed + self.unsent == 0 && heard
    }

    /// Lines for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.sent();
        lines.push(String::new());
        lines.push(TITLES.to_owned());
        lines.extend(self.publish_ms.map(|spread| row("publish → ack, ms", &spread, 2)));
        if let Some(events) = &self.events {
            lines.extend(events.latency_ms.map(|spread| row("publish → event, ms", &spread, 2)));
        }
        lines.extend(self.projector.lag_ms.map(|spread| row("store behind, ms", &spread, 1)));
        let behind = &self.projector.lag_messages;
        lines.extend(behind.map(|spread| row("store behind, messages", &spread, 0)));
        let own = &self.generator.own_delay_ms;
        lines.extend(own.map(|spread| row("generator's own delay, ms", &spread, 2)));
        lines.push(String::new());
        lines.extend(self.heard());
        lines.push(match self.projector.caught_up_ms {
            Some(millis) => format!("the store had everything {millis:.1} ms after the last ack"),
            None => "the store did not catch up".to_owned(),
        });
        lines.extend(self.warnings());
        lines
    }

    fn sent(&self) -> Vec<String> {
        let Tally { accepted, refused, rejected, failed } = self.messages;
        let asked = match self.asked.rate {
            Some(rate) => format!("asked for {rate:.0}/s"),
            None => "as fast as answers came".to_owned(),
        };
        let mut lines = vec![
            format!(
                "{:.0} messages/s accepted by {} over {:.1} s ({asked}; {} connections, {} a request)",
                self.accepted_per_s,
                self.server,
                self.measured_s,
                self.asked.connections,
                self.asked.batch
            ),
            format!(
                "{accepted} accepted, {refused} refused (503), {rejected} rejected, {failed} without an answer"
            ),
        ];
        if self.unsent > 0 {
            lines.push(format!(
                "{} not sent: {} s after the end the server was still busy with earlier ones",
                self.unsent,
                BACKLOG_PATIENCE.as_secs()
            ));
        }
        lines.extend(self.first_trouble.as_ref().map(|words| format!("first trouble: {words}")));
        lines
    }

    fn heard(&self) -> Vec<String> {
        let Some(events) = &self.events else { return Vec::new() };
        let mut lines = vec![format!(
            "{:.0} events/s to {} subscribers ({:.1} MB/s); {} in all, {} missing, {} out of order",
            events.per_s,
            self.asked.subscribers,
            events.bytes_per_s / 1e6,
            events.received,
            events.missing.map_or_else(|| "unknown".to_owned(), |missing| missing.to_string()),
            events.out_of_order
        )];
        if let Some(why) = &events.why_ended {
            lines.push(format!("{} streams ended early: {why}", events.ended));
        }
        lines
    }

    fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        // A request at either edge of the measured time may fall on its other side.
        let edges = 2.0 * self.asked.batch as f64;
        let accepted = self.accepted_per_s * self.measured_s + edges;
        let missed = |rate: f64| accepted < rate * self.measured_s * ACHIEVED_SHARE;
        if self.asked.rate.is_some_and(missed) {
            lines.push("warning: the asked rate was not reached".to_owned());
        }
        if self.generator.late_share > 1.0 - ACHIEVED_SHARE && self.asked.rate.is_some() {
            lines.push(format!(
                "warning: {:.1} % of requests began late, since every connection awaited an answer: the waits are in the latency",
                self.generator.late_share * 100.0
            ));
        }
        if self.generator.fell_behind {
            lines.push(format!(
                "warning: the generator itself fell behind (over {} ms): the figures are not the server's alone",
                Duration::as_millis(&OWN_DELAY)
            ));
        }
        if let Some(stolen) = self.generator.stolen.filter(|stolen| *stolen >= STOLEN_SHARE) {
            lines.push(format!(
                "warning: the machine's host gave {:.0} % of its processor time to others: the figures are of what was left",
                stolen * 100.0
            ));
        }
        lines
    }
}

const TITLES: &str =
    "                                 p50        p90        p95        p99      p99.9        max";

fn row(what: &str, spread: &Spread, places: usize) -> String {
    let figures = [spread.p50, spread.p90, spread.p95, spread.p99, spread.p999, spread.max];
    let cells: String = figures.iter().map(|figure| format!(" {figure:>10.places$}")).collect();
    format!("{what:<25}{cells}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(p99: f64) -> Spread {
        Spread { count: 9, p50: 1.0, p99, max: 20.0, ..Spread::default() }
    }

    fn report() -> Report {
        Report {
            server: "127.0.0.1:1".to_owned(),
            asked: Asked::of(&Plan { rate: Some(1_000.0), ..Plan::default() }),
            measured_s: 10.0,
            answered_s: 10.0,
            accepted_per_s: 500.0,
            messages: Tally { accepted: 5_000, ..Tally::default() },
            unsent: 0,
            warmup: Tally::default(),
            first_trouble: None,
            publish_ms: Some(spread(9.0)),
            events: None,
            projector: Projector::default(),
            generator: Generator {
                stolen: Some(0.3),
                ..Generator::of(600, 1_000, Some(spread(9.0)))
            },
        }
    }

    #[test]
    fn what_was_missed_is_told() {
        let text = report().lines().join("\n");
        assert!(text.contains("500 messages/s accepted"), "{text}");
        for warning in
            ["asked rate was not reached", "60.0 % of requests", "itself fell behind", "30 % of"]
        {
            assert!(text.contains(warning), "{warning}: {text}");
        }
        let wide = |line: &&str| line.contains("p99.9") || line.contains("publish → ack");
        let widths: Vec<_> = text.lines().filter(wide).map(|line| line.chars().count()).collect();
        assert_eq!(widths, [91, 91]);
    }

    #[test]
    fn whole_is_all_accepted_and_all_heard() {
        let mut report = report();
        assert!(report.is_whole());
        report.messages.refused = 1;
        assert!(!report.is_whole());
        report.messages.refused = 0;
        report.unsent = 1;
        assert!(!report.is_whole() && report.lines().join("\n").contains("1 not sent"));
        report.unsent = 0;
        report.events = Some(Events {
            received: 1,
            per_s: 1.0,
            bytes_per_s: 1.0,
            others: 0,
            missing: Some(1),
            out_of_order: 0,
            ended: 0,
            why_ended: None,
            latency_ms: None,
        });
        assert!(!report.is_whole());
    }
}
