//! The report of a run: JSON for programs, lines for people.

use std::time::Duration;

use serde::Serialize;

use super::limits::{BACKLOG_TIMEOUT, MAX_OWN_DELAY, MIN_RATE_SHARE, STOLEN_WARNING_SHARE};
use super::meter::Tally;
use super::plan::Plan;
use super::samples::Summary;

/// The figures of a run. Names end in their unit: `_ms` milliseconds, `_s` seconds, `_per_s` a second.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Host and port of the server.
    pub server: String,
    /// The parameters of the run.
    pub asked: Parameters,
    /// The measured time: shorter than requested if the run was ended early.
    pub measured_s: f64,
    /// From the start of the measured time to the last response.
    pub answered_s: f64,
    /// Accepted messages a second, by responses within the measured time.
    pub accepted_per_s: f64,
    /// Outcomes of the messages with an intended time in the measured time.
    pub messages: Tally,
    /// Messages of an open loop that were not sent, since all connections waited for responses until
    /// [`BACKLOG_TIMEOUT`] after the end. The latency does not include them.
    pub unsent: u64,
    /// Outcomes of the messages of the warm-up.
    pub warmup: Tally,
    /// The first response that did not accept every message, or the first error.
    pub first_trouble: Option<String>,
    /// Latency from the intended time to the response.
    pub publish_ms: Option<Summary>,
    /// Events at the subscribers; `None` without subscribers.
    pub events: Option<Events>,
    /// The lag of the store behind the log.
    pub projector: Projector,
    /// The generator's own delay and use of the machine.
    pub generator: Generator,
}

/// The parameters of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Parameters {
    /// Messages a second; `None` for a closed loop.
    pub rate: Option<f64>,
    /// The measured time.
    pub duration_s: f64,
    /// Time of load before it.
    pub warmup_s: f64,
    /// Connections that send.
    pub connections: usize,
    /// Sizes of the content in bytes; messages take them in turn.
    pub sizes: Vec<usize>,
    /// Messages per request.
    pub batch: usize,
    /// Whether messages had ids from the client.
    pub ids: bool,
    /// The level of acknowledgement: `stored` or `committed`.
    pub ack: &'static str,
    /// Number of tasks; 0 for broadcast messages.
    pub tasks: usize,
    /// Connections subscribed to `/v1/stream`.
    pub subscribers: usize,
    /// Their queries.
    pub filters: Vec<String>,
}

/// Events at the subscribers.
#[derive(Clone, Debug, Serialize)]
pub struct Events {
    /// Events of the run's messages, including the warm-up.
    pub received: u64,
    /// Events of other messages.
    pub others: u64,
    /// Events a second in the measured time.
    pub per_s: f64,
    /// Bytes of events a second in the measured time.
    pub bytes_per_s: f64,
    /// Events that did not arrive; `None` with filters, since the expected number is unknown then.
    pub missing: Option<u64>,
    /// Events out of order, and duplicates.
    pub out_of_order: u64,
    /// Streams that ended before the run did.
    pub ended: usize,
    /// Why the first of these ended.
    pub why_ended: Option<String>,
    /// Latency from the intended time to the event; with many subscribers of a sample.
    pub latency_ms: Option<Summary>,
}

/// The lag of the store behind the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Projector {
    /// Lag in messages, sampled.
    pub lag_messages: Option<Summary>,
    /// Age of the oldest acknowledged message not in the store, sampled.
    pub lag_ms: Option<Summary>,
    /// From the last response until the store had everything; `None` after
    /// [`COMMITTED_TIMEOUT`](super::limits::COMMITTED_TIMEOUT).
    pub caught_up_ms: Option<f64>,
}

/// The generator's own delay and use of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// Share of requests that started late because every connection waited for a response.
    pub late_share: f64,
    /// How late the other requests started.
    pub own_delay_ms: Option<Summary>,
    /// Processor time of this process, in cores.
    pub cores: Option<f64>,
    /// Share of the machine's processor time that its host gave to other machines (Linux: steal), 0 to 1.
    pub stolen: Option<f64>,
    /// Whether the generator's own delay was above [`MAX_OWN_DELAY`], so that it distorts the figures.
    pub fell_behind: bool,
}

impl Parameters {
    /// The reported part of a plan.
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
    /// The generator's part of a report, without the use of the machine.
    #[must_use]
    pub fn of(late: u64, requests: u64, own_delay: Option<Summary>) -> Self {
        let limit = MAX_OWN_DELAY.as_secs_f64() * 1_000.0;
        Self {
            late_share: late as f64 / requests.max(1) as f64,
            own_delay_ms: own_delay,
            cores: None,
            stolen: None,
            fell_behind: own_delay.is_some_and(|summary| summary.p99 > limit),
        }
    }
}

impl Report {
    /// Whether every message was accepted, and every event arrived once and in order.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Tally { refused, rejected, failed, .. } = self.messages;
        let events_complete = self.events.as_ref().is_none_or(|events| {
            events.missing.unwrap_or(0) + events.out_of_order == 0 && events.ended == 0
        });
        refused + rejected + failed + self.unsent == 0 && events_complete
    }

    /// Latency from the intended time of a message to its event; zeros without events.
    #[must_use]
    pub fn event_latency(&self) -> Summary {
        self.events.as_ref().and_then(|events| events.latency_ms).unwrap_or_default()
    }

    /// The report as lines of text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.message_lines();
        lines.push(String::new());
        lines.push(TITLES.to_owned());
        lines.extend(self.publish_ms.map(|summary| row("publish → ack, ms", &summary, 2)));
        if let Some(events) = &self.events {
            lines.extend(events.latency_ms.map(|summary| row("publish → event, ms", &summary, 2)));
        }
        lines.extend(self.projector.lag_ms.map(|summary| row("store behind, ms", &summary, 1)));
        let behind = &self.projector.lag_messages;
        lines.extend(behind.map(|summary| row("store behind, messages", &summary, 0)));
        let own_delay = &self.generator.own_delay_ms;
        lines.extend(own_delay.map(|summary| row("generator's own delay, ms", &summary, 2)));
        lines.push(String::new());
        lines.extend(self.event_lines());
        lines.push(match self.projector.caught_up_ms {
            Some(millis) => format!("the store had everything {millis:.1} ms after the last ack"),
            None => "the store did not catch up".to_owned(),
        });
        lines.extend(self.warnings());
        lines
    }

    fn message_lines(&self) -> Vec<String> {
        let Tally { accepted, refused, rejected, failed } = self.messages;
        let rate = match self.asked.rate {
            Some(rate) => format!("requested {rate:.0}/s"),
            None => "closed loop".to_owned(),
        };
        let mut lines = vec![
            format!(
                "{:.0} messages/s accepted by {} over {:.1} s ({rate}; {} connections, {} a request)",
                self.accepted_per_s,
                self.server,
                self.measured_s,
                self.asked.connections,
                self.asked.batch
            ),
            format!(
                "{accepted} accepted, {refused} refused (503), {rejected} rejected, {failed} without a response"
            ),
        ];
        if self.unsent > 0 {
            lines.push(format!(
                "{} not sent: {} s after the end every connection still waited for a response",
                self.unsent,
                BACKLOG_TIMEOUT.as_secs()
            ));
        }
        lines.extend(self.first_trouble.as_ref().map(|text| format!("first error: {text}")));
        lines
    }

    fn event_lines(&self) -> Vec<String> {
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
        // Responses at both ends of the measured time may fall just outside of it.
        let tolerance = 2.0 * self.asked.batch as f64;
        let accepted = self.accepted_per_s * self.measured_s + tolerance;
        let is_missed = |rate: f64| accepted < rate * self.measured_s * MIN_RATE_SHARE;
        if self.asked.rate.is_some_and(is_missed) {
            lines.push("warning: the requested rate was not reached".to_owned());
        }
        if self.generator.late_share > 1.0 - MIN_RATE_SHARE && self.asked.rate.is_some() {
            lines.push(format!(
                "warning: {:.1} % of requests started late, since every connection waited for a response; the latency includes the wait",
                self.generator.late_share * 100.0
            ));
        }
        if self.generator.fell_behind {
            lines.push(format!(
                "warning: the generator itself was late by more than {} ms, which the latency includes",
                Duration::as_millis(&MAX_OWN_DELAY)
            ));
        }
        if let Some(stolen) = self.generator.stolen.filter(|stolen| *stolen >= STOLEN_WARNING_SHARE)
        {
            lines.push(format!(
                "warning: the machine's host gave {:.0} % of its processor time to other machines",
                stolen * 100.0
            ));
        }
        lines
    }
}

const TITLES: &str =
    "                                 p50        p90        p95        p99      p99.9        max";

fn row(what: &str, summary: &Summary, places: usize) -> String {
    let figures = [summary.p50, summary.p90, summary.p95, summary.p99, summary.p999, summary.max];
    let cells: String = figures.iter().map(|figure| format!(" {figure:>10.places$}")).collect();
    format!("{what:<25}{cells}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(p99: f64) -> Summary {
        Summary { count: 9, p50: 1.0, p99, max: 20.0, ..Summary::default() }
    }

    fn report() -> Report {
        Report {
            server: "127.0.0.1:1".to_owned(),
            asked: Parameters::of(&Plan { rate: Some(1_000.0), ..Plan::default() }),
            measured_s: 10.0,
            answered_s: 10.0,
            accepted_per_s: 500.0,
            messages: Tally { accepted: 5_000, ..Tally::default() },
            unsent: 0,
            warmup: Tally::default(),
            first_trouble: None,
            publish_ms: Some(summary(9.0)),
            events: None,
            projector: Projector::default(),
            generator: Generator {
                stolen: Some(0.3),
                ..Generator::of(600, 1_000, Some(summary(9.0)))
            },
        }
    }

    #[test]
    fn shortfalls_are_warned_of() {
        let text = report().lines().join("\n");
        assert!(text.contains("500 messages/s accepted"), "{text}");
        for warning in
            ["requested rate was not reached", "60.0 % of requests", "itself was late", "30 % of"]
        {
            assert!(text.contains(warning), "{warning}: {text}");
        }
        let is_table = |line: &&str| line.contains("p99.9") || line.contains("publish → ack");
        let widths: Vec<_> =
            text.lines().filter(is_table).map(|line| line.chars().count()).collect();
        assert_eq!(widths, [91, 91]);
    }

    #[test]
    fn a_run_is_whole_if_all_messages_and_events_arrived() {
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
